"""A server that the run starts: found a port, awaited, brought back when it dies, and never left behind."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ponder import Example
from ponder.errors import InputError, StageError
from ponder_sampling import VllmConfig
from ponder_sampling.servers import _as_arguments, _command, _environment
from ponder_sampling.vllm import VllmSampler

STUB = [sys.executable, str(Path(__file__).with_name("vllm_stub.py"))]
KEEPER = Path(__file__).parents[1] / "ponder_sampling" / "server_keeper.py"
EXAMPLES = [Example("What is 3 + 4?"), Example("Hi")]


@pytest.fixture
def make_sampler(tmp_path, monkeypatch):
    made = []
    monkeypatch.setenv("PONDER_VLLM_COMMAND", shlex.join(STUB))
    monkeypatch.setenv("STUB_NOTES", str(tmp_path / "starts"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def make(environment=None, **options) -> VllmSampler:
        for name, value in (environment or {}).items():
            monkeypatch.setenv(name, value)
        made.append(VllmSampler(VllmConfig(**{"max_new_tokens": 8, "start_seconds": 60.0, **options})))
        return made[-1]

    yield make
    for sampler in made:
        sampler.close()


def starts(tmp_path: Path) -> list[int]:
    """The process ids of the servers that were started."""
    return [int(line) for line in (tmp_path / "starts").read_text().split()]


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "zombie" not in Path(f"/proc/{process}/status").read_text()


def await_end(process: int) -> None:
    deadline = time.monotonic() + 30
    while is_running(process):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_server_is_started_once_and_ends_with_the_sampler(make_sampler, make_uniform, tmp_path) -> None:
    policy, sampler = make_uniform(), make_sampler()
    first = sampler.sample(policy, EXAMPLES, 2, seed=0)
    assert first == sampler.sample(policy, EXAMPLES, 2, seed=0)
    [server] = starts(tmp_path)
    assert is_running(server)
    sampler.close()
    await_end(server)
    (log,) = tmp_path.glob("*/vllm.log")
    assert "stub: starting" in log.read_text()


def test_one_that_dies_in_a_rollout_is_started_again_and_asked_for_the_rest(
    make_sampler, make_uniform, tmp_path
) -> None:
    policy = make_uniform()
    expected = make_sampler().sample(policy, EXAMPLES, 4, seed=0)
    (tmp_path / "starts").unlink()
    # The two prompts that are compared are answered first.
    sampler = make_sampler({"STUB_DEATHS": "1", "STUB_DIES_AFTER": "5"}, concurrency=2)
    assert sampler.sample(policy, EXAMPLES, 4, seed=0) == expected
    assert len(starts(tmp_path)) == 2
    told = sampler.statistics()
    assert (told["hand_overs"], told["server_failures"]) == (2, 1)


def test_one_that_dies_again_and_again_ends_the_stage_and_its_log_is_named(
    make_sampler, make_uniform, tmp_path
) -> None:
    sampler = make_sampler({"STUB_DEATHS": "9", "STUB_DIES_AFTER": "0"}, restarts=1)
    with pytest.raises(StageError, match=r"died or gone silent 2 times .*at most 1 times \(restarts\).*vllm\.log"):
        sampler.sample(make_uniform(), EXAMPLES, 1, seed=0)
    assert len(starts(tmp_path)) == 2


def test_one_that_does_not_start_says_why(make_sampler, make_uniform) -> None:
    with pytest.raises(
        StageError, match=r"ended with status 1 while it started; its log is .*(?s:.*)KV cache is too small"
    ):
        make_sampler({"STUB_FAILS": "1"}).sample(make_uniform(), EXAMPLES, 1, seed=0)


def test_its_arguments_bound_the_context(make_sampler, make_uniform) -> None:
    sampler = make_sampler(engine={"max_model_len": 20})
    with pytest.raises(InputError, match="has 20 tokens and the model's context holds 20"):
        sampler.sample(make_uniform(), [Example("x" * 20)], 1, seed=0)


def test_a_server_dies_with_the_process_that_holds_its_pipe(tmp_path) -> None:
    program = [
        sys.executable,
        str(KEEPER),
        sys.executable,
        "-c",
        "import os, time; print(os.getpid(), flush=True); time.sleep(99)",
    ]
    keeper = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    server = int(keeper.stdout.readline())
    assert is_running(server)
    # What the kernel does for a process that was killed.
    keeper.stdin.close()
    await_end(server)
    assert keeper.wait(30) == signal.SIGTERM
    keeper.stdout.close()


def test_a_program_that_is_not_there_is_refused_when_the_sampler_is_built(monkeypatch) -> None:
    monkeypatch.setenv("PONDER_VLLM_COMMAND", "/nowhere/python -m vllm")
    with pytest.raises(InputError, match="there is no program /nowhere/python; give it a virtual environment"):
        VllmSampler(VllmConfig())


@pytest.mark.parametrize(
    "name", ["trust_remote_code", "--trust-remote-code", "worker-extension-cls", "middleware", "model"]
)
def test_a_recipe_cannot_have_the_server_run_code(name) -> None:
    with pytest.raises(ValueError, match=f"engine.{name} has vLLM load code or files"):
        VllmConfig(engine={name: True})


@pytest.mark.parametrize("name", ["LD_PRELOAD", "PATH", "PYTHONPATH"])
def test_a_recipe_sets_no_other_variables_than_vllms(name) -> None:
    with pytest.raises(ValueError, match=f"vLLM's own variables .*not {name}"):
        VllmConfig(environment={name: "x"})


def test_engine_options_become_arguments(monkeypatch) -> None:
    options = {
        "max_model_len": 9,
        "enforce_eager": True,
        "enable_prefix_caching": False,
        "seed": None,
        "hf_overrides": {"a": 1},
    }
    assert list(_as_arguments(options)) == [
        *("--max-model-len", "9", "--enforce-eager", "--no-enable-prefix-caching"),
        *("--hf-overrides", '{"a": 1}'),
    ]
    monkeypatch.setenv("PONDER_VLLM_COMMAND", "/there/vllm serve")
    command = _command(VllmConfig(temperature=0.7), "/model", 1, 9)
    assert command[:3] == ["/there/vllm", "serve", "/model"]
    assert " ".join(command).endswith("--logprobs-mode processed_logprobs --enable-lora --max-lora-rank 16")


def test_the_older_program_takes_the_model_as_an_option(monkeypatch) -> None:
    monkeypatch.setenv("PONDER_VLLM_COMMAND", "/there/python -m vllm.entrypoints.openai.api_server")
    command = _command(VllmConfig(), "/model", 1, 0)
    assert command[2:5] == ["vllm.entrypoints.openai.api_server", "--model", "/model"]


def test_a_server_is_told_no_secrets_and_nothing_of_our_modules(monkeypatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", "sk-1")
    monkeypatch.setenv("HF_TOKEN", "hf_1")
    monkeypatch.setenv("PYTHONPATH", "/ours")
    told = _environment(VllmConfig(environment={"VLLM_CPU_KVCACHE_SPACE": "1"}))
    assert not {"TEACHER_KEY", "HF_TOKEN", "PYTHONPATH"} & told.keys()
    assert (told["VLLM_CPU_KVCACHE_SPACE"], told["VLLM_SERVER_DEV_MODE"]) == ("1", "1")
