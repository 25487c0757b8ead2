"""The examples that `ponder plugins show` prints: valid for every installed component."""

from __future__ import annotations

import pytest

from ponder.errors import InputError
from ponder.example import example_problems, example_recipe
from ponder.plugins import Offer, Registry, load_registry

INSTALLED = load_registry()


@pytest.mark.parametrize(
    "offer",
    INSTALLED.all(),
    ids=lambda offer: f"{offer.kind}-{offer.component.name}" if isinstance(offer, Offer) else None,
)
def test_the_example_of_an_installed_component_is_a_valid_recipe(offer: Offer) -> None:
    example = example_recipe(INSTALLED, offer.kind, offer.component.name)
    assert f"type: {offer.component.name}" in example.text
    assert example_problems(INSTALLED, example) == ()


def test_files_that_an_example_needs_are_named() -> None:
    assert example_recipe(INSTALLED, "task", "jsonl").files == ("problems.jsonl",)


def test_an_example_of_what_nobody_offers_is_an_input_error() -> None:
    with pytest.raises(InputError, match="no reward 'nope' is installed"):
        example_recipe(Registry(), "reward", "nope")
