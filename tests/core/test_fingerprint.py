from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ponder.fingerprint import changes, identify_stages

RECIPE = """
name: toy
seed: 3
policies:
  base: {type: toy}
  other: {type: toy, value: 5.0}
tasks:
  words: {type: jsonl, path: words.txt}
stages:
  first: {type: count, policy: base, task: words}
  second: {type: collect, policy: first}
  apart: {type: collect, policy: other}
"""


@pytest.fixture
def laboratory(laboratory: Any) -> Any:
    laboratory.recipe_text = RECIPE
    (laboratory.directory / "words.txt").write_text("one\ntwo\n")
    return laboratory


def fingerprints(laboratory: Any, *overrides: str) -> dict[str, str]:
    identities = identify_stages(laboratory.recipe(*overrides), laboratory.registry)
    return {name: identity.fingerprint for name, identity in identities.items()}


def changed(laboratory: Any, *overrides: str) -> set[str]:
    """The stages whose fingerprints are not those of the recipe as it stands."""
    laboratory_before = fingerprints(laboratory)
    return {name for name, now in fingerprints(laboratory, *overrides).items() if now != laboratory_before[name]}


def test_the_same_recipe_has_the_same_fingerprints(laboratory: Any) -> None:
    assert changed(laboratory) == set()


@pytest.mark.parametrize(
    ("override", "stages"),
    [
        ("stages.second.answers=5", {"second"}),
        ("stages.first.scale=2.0", {"first", "second"}),
        ("policies.base.value=7.0", {"first", "second"}),
        ("policies.other.value=7.0", {"apart"}),
        ("stages.apart.policy=base", {"apart"}),
        ("seed=4", {"first", "second", "apart"}),
        ("name=renamed", set()),
        ("tracker={type: toy}", set()),
    ],
)
def test_a_change_reaches_what_depends_on_it_and_nothing_else(laboratory: Any, override: str, stages: set[str]) -> None:
    assert changed(laboratory, override) == stages


def test_the_content_of_an_input_file_counts(laboratory: Any) -> None:
    before = fingerprints(laboratory)
    (laboratory.directory / "words.txt").write_text("one\nTWO\n")
    after = fingerprints(laboratory)

    assert {name for name in before if before[name] != after[name]} == {"first", "second"}


def test_where_a_recipe_and_its_files_are_does_not_count(laboratory: Any, another_laboratory: Any) -> None:
    another_laboratory.recipe_text = RECIPE
    (another_laboratory.directory / "words.txt").write_text("one\ntwo\n")

    assert fingerprints(laboratory) == fingerprints(another_laboratory)


def test_the_version_of_a_plugin_counts(laboratory: Any, another_laboratory: Any) -> None:
    before = fingerprints(laboratory)
    for (kind, name), offers in laboratory.registry._offers.items():
        laboratory.registry._offers[kind, name] = [_newer(offer) for offer in offers] if name == "collect" else offers
    after = fingerprints(laboratory)

    assert {name for name in before if before[name] != after[name]} == {"second", "apart"}


def test_the_version_of_core_counts(laboratory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprints(laboratory)
    monkeypatch.setattr("ponder.fingerprint.core_version", lambda: "99")
    after = fingerprints(laboratory)

    assert all(before[name] != after[name] for name in before)


def test_the_content_of_a_plugin_file_counts(laboratory: Any, tmp_path: Path) -> None:
    from ponder.plugins import load_registry
    from ponder.recipe import load_recipe

    found = []
    recipe = tmp_path / "own.yaml"
    recipe.write_text("policies: {base: {type: toy}}\nstages: {first: {type: count, policy: base}}\n")
    for comment in ("# one", "# two"):
        source = (Path(__file__).parent.parent / "data" / "toy_plugin.py").read_text().replace('"jsonl"', '"own_lines"')
        plugin = tmp_path / "own_plugin.py"
        plugin.write_text(f"{source}\n{comment}\n")
        registry = load_registry([plugin], disabled=())
        found.append(identify_stages(load_recipe(recipe, (), registry), registry)["first"].fingerprint)

    assert found[0] != found[1]


def test_a_change_is_told_with_its_values(laboratory: Any) -> None:
    before = identify_stages(laboratory.recipe(), laboratory.registry)["first"].ingredients
    now = identify_stages(laboratory.recipe("stages.first.steps=9"), laboratory.registry)["first"].ingredients

    assert changes(before, now) == ["options.steps: 4 -> 9"]


def test_a_change_further_up_is_told_by_the_stage_it_came_from(laboratory: Any) -> None:
    before = identify_stages(laboratory.recipe(), laboratory.registry)["second"].ingredients
    now = identify_stages(laboratory.recipe("stages.first.steps=9"), laboratory.registry)["second"].ingredients

    assert changes(before, now) == ["stages.first"]


def _newer(offer: Any) -> Any:
    from dataclasses import replace

    return replace(offer, version="2")
