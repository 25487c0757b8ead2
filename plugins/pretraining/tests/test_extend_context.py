"""The stage in a real run, its measurements, and options that make no sense."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from ponder.plugins import load_registry
from ponder.progress import Display
from ponder.recipe import load_recipe
from ponder.run import run_recipe
from ponder_pretraining import ExtendContextConfig, Phase, extension
from ponder_pretraining.long_context import hide_needle, probed_lengths
from ponder_pretraining.packing import running_rows

RECIPE = """
policies:
  base: {type: deepseek, preset: tiny, context_length: 32}
tasks:
  pages: {type: mini_web, documents: 60, textbooks: 1.0}
stages:
  longer:
    type: extend_context
    policy: base
    task: pages
    learning_rate: 3.0e-3
    phases: [{length: 64, batch: 4, steps: 6}, {length: 128, batch: 2, steps: 6}]
    probe_rows: 2
    needle_samples: 1
    needle_depths: 2
    checkpoint_every: 4
"""


def run(folder, name="runs", *overrides):
    path = folder / "small.yaml"
    path.write_text(RECIPE)
    registry = load_registry()
    with torch.random.fork_rng():
        outcome = run_recipe(load_recipe(path, overrides, registry), registry, folder / name, Display())
    return outcome.stages[-1].directory


def test_two_phases_lower_the_perplexity_beyond_the_old_length(tmp_path):
    directory = run(tmp_path)
    metrics = json.loads((directory / "result.json").read_text())["metrics"]
    assert metrics["perplexity_beyond"] < metrics["perplexity_beyond_before"] - 10
    assert metrics["context_length"] == 128
    found = json.loads((directory / "context.json").read_text())
    assert (found["original_length"], found["length"], found["lengths"]) == (32, 128, [32, 64, 128])
    assert len(found["after"]["perplexity"]) == 8
    config = AutoModelForCausalLM.from_pretrained(directory / "policy").config
    assert config.max_position_embeddings == 128
    assert (config.rope_parameters["rope_type"], config.rope_parameters["factor"]) == ("yarn", 4.0)


@pytest.mark.parametrize("dying", [5, 9])
def test_an_interrupted_extension_goes_on_to_the_same_weights_and_metrics(tmp_path, monkeypatch, dying):
    straight = run(tmp_path, "straight", "stages.longer.precision=bf16")
    real = extension.Training.step

    def dies(training, batch, step, *rest):
        if step == dying:
            raise RuntimeError("power cut")
        return real(training, batch, step, *rest)

    monkeypatch.setattr(extension.Training, "step", dies)
    with pytest.raises(Exception, match="power cut"):
        run(tmp_path, "broken", "stages.longer.precision=bf16")
    monkeypatch.setattr(extension.Training, "step", real)
    resumed = run(tmp_path, "broken", "stages.longer.precision=bf16")
    for name in ("metrics.jsonl", "context.json"):
        assert (resumed / name).read_bytes() == (straight / name).read_bytes()
    weights, expected = (load_file(folder / "policy" / "model.safetensors") for folder in (resumed, straight))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("original_length=64", "does not extend"),
        ("original_length=6", "nothing to go by"),
        ("phases=[{length: 128, batch: 1, steps: 1, factor: 2.0}]", "at least 4"),
    ],
)
def test_phases_that_do_not_fit_the_policy_are_refused_before_any_training(tmp_path, override, told):
    with pytest.raises(Exception, match=told):
        run(tmp_path, "runs", f"stages.longer.{override}")


def config(**options):
    phases = [Phase(length=256, batch=4, steps=10)]
    return ExtendContextConfig(**{"policy": "base", "task": "web", "phases": phases, **options})


@pytest.mark.parametrize(
    "options",
    [
        {"phases": []},
        {"original_length": 1},
        {"learning_rate": 0.0},
        {"mscale": -1.0},
        {"beta": 0.5},
        {"probe_rows": 0},
    ],
)
def test_impossible_options_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        config(**options)


def test_a_factor_below_one_and_shrinking_phases_are_refused():
    with pytest.raises(ValueError, match="factor must be at least 1"):
        Phase(length=256, batch=1, steps=1, factor=0.5)
    with pytest.raises(ValueError, match="must not get shorter: their lengths are 256, 128"):
        config(phases=[Phase(length=256, batch=1, steps=1), Phase(length=128, batch=1, steps=1)])


def test_the_published_preset_reads_as_many_tokens_in_each_phase():
    phases = [Phase(**phase) for phase in ExtendContextConfig.presets["v3"]["phases"]]
    assert {phase.batch * phase.length for phase in phases} == {62_914_560}
    assert (
        config(phases=phases)
        .plan()
        .startswith("1,000 steps of 1,920 rows x 32,768 tokens, then 1,000 steps of 480 rows")
    )


def test_a_needle_stands_at_its_depth_and_is_asked_for_at_the_end():
    needle = [90, 91, 92, 93]
    text = hide_needle(list(range(40)), needle, 20, 0.5)
    assert len(text) == 20
    assert text == [*range(6), *needle, *range(6, 12), *needle]


def test_lengths_double_from_the_old_one_to_the_longest_and_have_room_for_a_needle():
    assert probed_lengths(32, 100) == [32, 64, 100]
    assert probed_lengths(8, 40) == [32, 40]


def test_running_rows_are_full_and_lose_nothing():
    rows = running_rows(lambda: iter(["abc", "defgh"]), lambda texts: [list(map(ord, text)) for text in texts], 4, 0)
    first = [next(rows) for _ in range(2)]
    assert all(sum(map(len, row)) == 4 for row in first)
    assert sorted(letter for row in first for piece in row for letter in piece) == sorted(map(ord, "abcdefgh"))
