"""Presets hold what the papers print, a recipe's own options win over them, and what is changed is told."""

import json

import pytest

from ponder.plugins import load_registry
from ponder.recipe import load_recipe
from ponder_grpo import DapoLossConfig, DrGrpoLossConfig, GrpoConfig, GrpoLossConfig
from ponder_grpo.losses import DapoLoss, DrGrpoLoss, GrpoLoss
from ponder_grpo.presets import PRESETS

RECIPE = """
policies: {{base: {{type: deepseek, preset: tiny}}}}
tasks: {{problems: {{type: mini_web, documents: 20}}}}
samplers: {{short: {{type: fast, max_new_tokens: 8}}}}
stages:
  zero: {{type: grpo, policy: base, task: problems, rewards: [format], {options}}}
"""


@pytest.fixture
def architecture():
    return "qwen2"


@pytest.fixture
def load(tmp_path):
    def load_options(options):
        path = tmp_path / "r.yaml"
        path.write_text(RECIPE.format(options=options))
        recipe = load_recipe(path, (), load_registry())
        config = recipe.stages["zero"].config
        return config, recipe.losses[config.loss].config, recipe.samplers[config.sampler].config

    return load_options


def test_r1_zero_is_what_the_paper_prints(load):
    config, loss, sampler = load("preset: r1_zero")
    assert config.learning_rate == 3e-6
    assert config.prompts_per_step * config.group_size == 8192
    assert config.prompts_per_step // config.minibatches * config.group_size == 512
    assert config.steps * config.updates_per_step == 10_400
    assert config.steps * config.prompts_per_step == 332_800
    assert (config.reference_refresh, config.epochs, config.advantage) == (400, 1, "group")
    assert (type(loss), loss.kl_coef, loss.kl) == (GrpoLossConfig, 0.001, "k3")
    assert (sampler.temperature, sampler.max_new_tokens) == (1.0, 32768)
    (limit,) = config.length_limits
    assert (limit.step * config.updates_per_step, limit.max_new_tokens) == (8192, 65536)


def test_the_clip_range_is_10_in_both_stages_of_r1_and_the_default_where_it_is_not_published(load):
    for preset, epsilon in (("r1_zero", 0.2), ("r1", 10.0), ("r1_final", 10.0)):
        _, loss, _ = load(f"preset: {preset}")
        assert loss.epsilon_low == loss.epsilon_high == epsilon


def test_the_last_stage_of_r1_is_cooler_and_takes_1700_updates(load):
    config, _, sampler = load("preset: r1_final")
    assert sampler.temperature == 0.7
    assert 1700 - config.updates_per_step < config.steps * config.updates_per_step <= 1700


def test_dapo_is_what_the_paper_prints(load):
    config, loss, sampler = load("preset: dapo")
    assert (config.learning_rate, config.warmup_steps, config.updates_per_step) == (1e-6, 20, 16)
    assert (config.prompts_per_step, config.group_size) == (512, 16)
    assert (type(loss), loss.epsilon_low, loss.epsilon_high, loss.kl_coef) == (DapoLossConfig, 0.2, 0.28, 0.0)
    assert (sampler.max_new_tokens, config.overlong_buffer, config.truncated) == (20480, 4096, "penalise")
    assert config.dynamic_sampling > 0


def test_dr_grpo_drops_the_deviation_the_length_and_the_kl_term(load):
    config, loss, _ = load("preset: dr_grpo")
    assert (config.advantage, type(loss), loss.kl_coef) == ("mean", DrGrpoLossConfig, 0.0)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_a_full_recipe_by_itself_and_changes_nothing_of_itself(load, preset):
    config, _, _ = load(f"preset: {preset}")
    assert config.plan().endswith(f"; 0 options of preset {preset} changed, besides loss and sampler")


def test_what_the_recipe_writes_wins(load):
    config, loss, sampler = load("preset: r1, group_size: 8, loss: {kl_coef: 0}, sampler: short")
    assert (config.group_size, config.prompts_per_step) == (8, 512)
    assert (loss.kl_coef, loss.epsilon_high) == (0.0, 10.0)
    assert (sampler.temperature, sampler.max_new_tokens) == (1.0, 8)
    assert config.plan().endswith("; 1 option of preset r1 changed, besides loss and sampler")


def test_a_part_of_dapo_can_be_switched_off(load):
    config, _, _ = load("preset: dapo, truncated: count, dynamic_sampling: 0")
    assert (config.truncated, config.dynamic_sampling) == ("count", 0)


def test_without_a_preset_the_plan_says_nothing_of_one(load):
    config, _, _ = load("group_size: 8")
    assert "preset" not in config.plan()


SMALL = {"group_size": 4, "prompts_per_step": 4, "minibatches": 1, "epochs": 1, "learning_rate": 3e-6}


def test_what_the_run_changes_is_printed_and_kept(make_context, train):
    context = make_context(GrpoLoss(GrpoLossConfig(epsilon_low=10, epsilon_high=0.28)))
    train(context, preset="r1", steps=1, **SMALL)
    assert context.said == [
        "preset r1, with 5 options changed:",
        "  group_size: 16 -> 4",
        "  prompts_per_step: 512 -> 4",
        "  minibatches: 16 -> 1",
        "  loss.epsilon_high: 10 -> 0.28",
        "  sampler.max_new_tokens: 32768 -> 6",
    ]
    kept = json.loads((context.directory / "deviations.json").read_text())
    assert kept["preset"] == "r1"
    assert kept["deviations"][0] == {"option": "group_size", "preset": 16, "run": 4}
    assert len(kept["deviations"]) == 5


def test_another_loss_is_a_change_by_its_name(make_context, train):
    context = make_context(DapoLoss(DapoLossConfig(epsilon_low=10, epsilon_high=10, kl_coef=0.001)))
    train(context, preset="r1", steps=1, **SMALL)
    assert "  loss.type: grpo -> dapo" in context.said


def test_a_loss_of_another_plugin_is_named_by_its_class_and_not_asked_what_it_has_not(make_context, train):
    class Own:
        def __call__(self, inputs):
            return GrpoLoss(GrpoLossConfig(kl_coef=0))(inputs)

    context = make_context(Own())
    train(context, preset="r1", steps=1, **SMALL)
    assert [line for line in context.said if "loss." in line] == ["  loss.type: grpo -> Own"]


def test_a_run_that_changes_nothing_says_so(make_context, train):
    context = make_context(DrGrpoLoss(DrGrpoLossConfig()))
    train(context, preset="dr_grpo", steps=1, advantage="mean")
    assert context.said == ["preset dr_grpo, with 0 options changed"]


def test_a_changed_curriculum_is_shown_in_one_line(make_context, train):
    context = make_context(GrpoLoss(GrpoLossConfig()))
    train(context, preset="r1_zero", **SMALL)
    assert "  length_limits: [{step: 512, max_new_tokens: 65536}] -> []" in context.said


def test_without_a_preset_nothing_is_compared(make_context, train):
    context = make_context(GrpoLoss(GrpoLossConfig(kl_coef=0)))
    train(context, steps=1)
    assert context.said == []
    assert not (context.directory / "deviations.json").exists()


def test_every_option_of_a_preset_is_one_of_the_stage():
    for values in PRESETS.values():
        assert values.keys() <= GrpoConfig.__dataclass_fields__.keys()
