"""The generated reference."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from ponder import Component, RewardConfig, hookimpl
from ponder.describe import options
from ponder.offers import HOOKS
from ponder.plugins import Registry, load_plugin_file
from ponder.reference import pages, stale_pages, write_pages

DATA = Path(__file__).parents[1] / "data"


@dataclass(frozen=True, kw_only=True)
class ToyConfig(RewardConfig):
    """Likes what is short.

    Up to a point.
    """

    limit: int
    """Characters | at most."""


class Toy:
    """1 for short, 0 for long."""

    def __init__(self, config):
        self.config = config


class Plugin:
    @hookimpl
    def ponder_rewards(self):
        yield Component("toy", ToyConfig, Toy)


@pytest.fixture
def registry():
    made = Registry()
    made.register(Plugin(), "toy", distribution="ponder-toy")
    return made


def test_a_component_has_a_page_with_its_texts_its_options_and_an_example(registry):
    page = pages(registry)["reward/toy.md"]
    assert "Likes what is short.\n\nUp to a point." in page
    assert "1 for short, 0 for long." in page
    assert "| `limit` | int | `required` | Characters \\| at most. |" in page
    assert "type: toy, limit: " in page


def test_every_option_of_every_component_is_on_its_page():
    made = Registry()
    made.register(load_plugin_file(DATA / "recipe_plugin.py"), "toy")
    found = pages(made)
    for offer in made.all():
        page = found[f"{offer.kind}/{offer.component.name}.md"]
        assert all(f"| `{option.name}` |" in page for option in options(offer.component.config))
    assert pages(made) == found


def test_the_index_of_an_empty_registry_says_so():
    assert pages(Registry())["README.md"].count("None is installed.") == len(HOOKS)


def test_every_hook_has_a_page(registry):
    found = pages(registry)
    assert "yield Component(" in found["hooks/ponder_rewards.md"]
    assert "def ponder_stage_finished(context, result):" in found["hooks/ponder_stage_finished.md"]


def test_the_index_links_every_page(registry):
    found = pages(registry)
    assert all(f"({name})" in found["README.md"] for name in found if name != "README.md")


def test_written_pages_are_current_and_what_belongs_to_nothing_is_removed(registry, tmp_path):
    (tmp_path / "reward").mkdir()
    (tmp_path / "reward" / "gone.md").write_text("old")
    assert stale_pages(registry, tmp_path)
    assert write_pages(registry, tmp_path)[1] == 1
    assert stale_pages(registry, tmp_path) == []


def test_a_changed_page_is_stale(registry, tmp_path):
    write_pages(registry, tmp_path)
    (tmp_path / "reward" / "toy.md").write_text("edited")
    assert stale_pages(registry, tmp_path) == ["reward/toy.md"]
