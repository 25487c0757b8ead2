"""What others rely on does not change unnoticed."""

import subprocess
import sys

import ponder

PUBLIC = {
    "EARLIER", "BatchReward", "Completion", "Component", "Example", "Loss", "LossInputs", "LossOutput", "Message", "Policy",
    "Reward", "RewardConfig", "Rollout", "Rubric", "Sampler", "Stage", "StageContext", "StageResult", "Task", "Tracker",
    "hookimpl", "lazy", "passthrough", "ref", "refs",
}  # fmt: skip


def test_the_public_names_are_these_and_no_others():
    assert set(ponder.__all__) == PUBLIC


def test_every_public_name_is_there():
    assert all(getattr(ponder, name) is not None for name in ponder.__all__)


def test_importing_ponder_loads_neither_omegaconf_nor_rich_nor_torch():
    program = "import sys, ponder; print([name for name in ('omegaconf', 'rich', 'torch', 'transformers') if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    assert loaded == "[]"


def test_whatever_loads_bitsandbytes_first_it_does_not_warn_of_kernels():
    program = "import ponder, logging; logging.getLogger('bitsandbytes.backends.cpu.ops').warning('Failed to load CPU kernels')"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stderr == ""
