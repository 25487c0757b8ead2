"""Presets: named values that stand under what a recipe writes for an entry, and over the defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import pytest

from ponder import Component, hookimpl, ref
from ponder.plugins import Registry, load_plugin_file
from ponder.problems import RecipeError
from ponder.recipe import Recipe, load_recipe

DATA = Path(__file__).parent.parent / "data"
Load = Callable[..., Recipe]


@dataclass(frozen=True, kw_only=True)
class TunedConfig:
    """A stage with published settings."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"steps": 100, "sampler": {"type": "draw", "temperature": 0.7, "top_p": 0.9}},
        "misprint": {"steps": "many"},
    }

    preset: Literal["paper", "misprint"] | None = None
    sampler: str = ref("sampler", default={"type": "draw", "temperature": 1.0})
    steps: int = 10
    rate: float = 0.5


@pytest.fixture
def load(tmp_path: Path) -> Load:
    registry = Registry()
    registry.register(load_plugin_file(DATA / "recipe_plugin.py"), "toy")
    plugin = SimpleNamespace(ponder_stages=hookimpl(lambda: [Component("tuned", TunedConfig, TunedConfig)]))
    plugin.ponder_stages.__name__ = "ponder_stages"
    registry.register(plugin, "tuned")

    def load_options(options: str, *overrides: str) -> Recipe:
        file = tmp_path / "r.yaml"
        file.write_text(
            f"samplers: {{cold: {{type: draw, temperature: 0.1}}}}\nstages:\n  s: {{type: tuned, {options}}}"
        )
        return load_recipe(file, overrides, registry)

    return load_options


def test_a_preset_fills_in_what_the_recipe_leaves_out(load):
    config = load("preset: paper").stages["s"].config
    assert (config.steps, config.rate) == (100, 0.5)


def test_what_the_recipe_writes_wins_over_the_preset(load):
    assert load("preset: paper, steps: 7").stages["s"].config.steps == 7
    assert load("preset: paper", "stages.s.steps=8").stages["s"].config.steps == 8


@pytest.mark.parametrize(
    ("sampler", "temperature", "top_p"),
    [("", 0.7, 0.9), ("sampler: {top_p: 0.5}", 0.7, 0.5), ("sampler: cold", 0.1, 1.0)],
)
def test_an_entry_of_a_preset_is_merged_with_the_mapping_that_the_recipe_writes(load, sampler, temperature, top_p):
    recipe = load(f"preset: paper, {sampler}")
    drawn = recipe.samplers[recipe.stages["s"].config.sampler].config
    assert (drawn.temperature, drawn.top_p) == (temperature, top_p)


def test_without_a_preset_the_defaults_hold(load):
    recipe = load("rate: 1")
    assert recipe.stages["s"].config.steps == 10
    assert recipe.samplers[recipe.stages["s"].config.sampler].config.temperature == 1.0


def test_the_options_kept_beside_a_stage_are_those_in_force(load):
    options = load("preset: paper, rate: 2").stages["s"].options
    assert options == {"preset": "paper", "sampler": "s.sampler", "steps": 100, "rate": 2.0}


def test_an_unknown_preset_is_refused_with_a_suggestion(load):
    with pytest.raises(RecipeError, match=r"stages\.s\.preset: expects paper \| misprint.*; did you mean 'paper'"):
        load("preset: papr")


def test_a_fault_in_a_preset_is_reported_where_the_recipe_names_it(load):
    with pytest.raises(RecipeError, match=r"r\.yaml:3: stages\.s\.steps: expects int, not 'many'"):
        load("preset: misprint")
