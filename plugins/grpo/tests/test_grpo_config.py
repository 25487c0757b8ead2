import subprocess
import sys

import pytest

import ponder_grpo
from ponder.components import Component
from ponder_grpo import GrpoConfig
from ponder_grpo.schedule import ever_refreshes, learning_rate, minibatch_groups, refreshes_before


def config(**options):
    return GrpoConfig(policy="base", task="math", rewards=["accuracy"], **options)


def test_the_plan_is_one_sentence_of_arithmetic():
    assert config(prompts_per_step=16, group_size=16, steps=110).plan() == (
        "16 prompts x 16 completions = 256 completions a step, in 1 update; 110 steps draw 28,160 completions"
    )


def test_the_plan_counts_the_updates_of_all_epochs():
    assert config(prompts_per_step=512, minibatches=16, epochs=2, steps=1).plan() == (
        "512 prompts x 16 completions = 8,192 completions a step, in 32 updates; 1 step draws 8,192 completions"
    )


def test_the_plan_says_what_may_be_drawn_besides():
    assert (
        config(compute_of=["sft"], dynamic_sampling=3, steps=2)
        .plan()
        .endswith("at most 2 steps draw 1,024 completions, with up to 3 further draws each")
    )


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"group_size": 1}, "group_size must be at least 2"),
        ({"prompts_per_step": 10, "minibatches": 4}, "multiple of minibatches"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"max_grad_norm": float("nan")}, "max_grad_norm"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"warmup_steps": -1}, "warmup_steps"),
        ({"micro_batch_tokens": 1}, "micro_batch_tokens"),
        ({"checkpoint_every": 0}, "checkpoint_every"),
        ({"probes": -1}, "probes"),
    ],
)
def test_an_impossible_option_is_refused_by_name(options, match):
    with pytest.raises(ValueError, match=match):
        config(**options)


def test_no_rewards_are_refused():
    with pytest.raises(ValueError, match="at least one reward"):
        GrpoConfig(policy="base", task="math", rewards=[])


def test_the_plugin_offers_the_stage_and_its_losses():
    offered = [*ponder_grpo.ponder_stages(), *ponder_grpo.ponder_losses()]
    assert all(isinstance(component, Component) for component in offered)
    assert [component.name for component in offered] == ["grpo", "grpo", "dapo", "dr_grpo"]


@pytest.mark.parametrize("component", list(ponder_grpo.ponder_losses()), ids=lambda component: component.name)
def test_every_loss_is_built_from_its_defaults(component):
    assert component.make(component.config()).config == component.config()


def test_the_entry_module_imports_neither_torch_nor_transformers():
    code = "import ponder_grpo, sys; print([n for n in ('torch', 'transformers') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_learning_rate_warms_up_and_stays():
    rates = [learning_rate(config(learning_rate=1.0, warmup_steps=4, steps=8), step) for step in range(8)]
    assert rates == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]


def test_the_learning_rate_falls_to_zero_behind_the_last_step():
    options = config(learning_rate=1.0, warmup_steps=2, steps=6, schedule="linear")
    assert [learning_rate(options, step) for step in range(6)] == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]


def test_a_warm_up_longer_than_the_stage_only_rises():
    options = config(learning_rate=1.0, warmup_steps=10, steps=3, schedule="linear")
    assert [learning_rate(options, step) for step in range(3)] == pytest.approx([0.1, 0.2, 0.3])


def test_the_reference_of_the_paper_is_refreshed_every_25_rollouts():
    options = config(prompts_per_step=512, minibatches=16, steps=650)
    refreshed = [step for step in range(650) if refreshes_before(options, step)]
    assert refreshed == list(range(25, 650, 25))


def test_a_reference_is_never_refreshed_with_zero_or_in_a_short_stage():
    assert not ever_refreshes(config(reference_refresh=0, steps=1000))
    assert not ever_refreshes(config(reference_refresh=400, steps=400))
    assert ever_refreshes(config(reference_refresh=400, steps=401))


def test_every_epoch_is_another_partition_into_whole_groups():
    options = config(prompts_per_step=12, minibatches=3, epochs=2)
    parts = minibatch_groups(options, 5, 0)
    assert [len(part) for part in parts] == [4] * 6
    for epoch in (parts[:3], parts[3:]):
        assert sorted(group for part in epoch for group in part) == list(range(12))
    assert parts[:3] != parts[3:]
    assert parts == minibatch_groups(options, 5, 0) != minibatch_groups(options, 5, 1)
