"""What stages reach through tasks and rewards: order, lineage, and tasks that only measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from ponder import Component, RewardConfig, hookimpl, ref, refs
from ponder.entries import SECTIONS
from ponder.lineage import stages_reached
from ponder.plugins import Registry, load_plugin_file
from ponder.problems import RecipeError
from ponder.recipe import Recipe, load_recipe

DATA = Path(__file__).parent.parent / "data"

HEAD = "policies: {base: {type: model}}\n"
LEARN = "type: train, policy: base"


@dataclass(frozen=True, kw_only=True)
class LearntRewardConfig(RewardConfig):
    """A reward that a stage made."""

    model: str = ref("stage")


@dataclass(frozen=True, kw_only=True)
class ExamConfig:
    """A stage that measures with its task."""

    measures: ClassVar[frozenset[str]] = frozenset({"task"})

    task: str = ref("task")


@dataclass(frozen=True, kw_only=True)
class CleanConfig:
    """A task without the problems of others."""

    measures: ClassVar[frozenset[str]] = frozenset({"against"})

    task: str = ref("task")
    against: list[str] = refs("task")


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], Recipe]:
    registry = Registry()
    registry.register(load_plugin_file(DATA / "recipe_plugin.py"), "toy")
    more = SimpleNamespace(
        ponder_rewards=hookimpl(lambda: [Component("learnt", LearntRewardConfig, print)], specname="ponder_rewards"),
        ponder_stages=hookimpl(lambda: [Component("exam", ExamConfig, print)], specname="ponder_stages"),
        ponder_tasks=hookimpl(lambda: [Component("clean", CleanConfig, print)], specname="ponder_tasks"),
    )
    registry.register(more, "more")
    assert registry.broken == {}

    def load_text(text: str) -> Recipe:
        file = tmp_path / "r.yaml"
        file.write_text(HEAD + text, encoding="utf-8")
        return load_recipe(file, (), registry)

    return load_text


def faults(load: Callable[[str], Recipe], text: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load(text)
    return [line.partition("r.yaml:")[2] for line in caught.value.problems]


def entries(recipe: Recipe) -> dict:  # type: ignore[type-arg]
    return {kind: getattr(recipe, section) for kind, section in SECTIONS.items()}


def test_a_stage_descends_from_the_stages_behind_its_tasks_and_rewards(load: Callable[[str], Recipe]) -> None:
    recipe = load(f"""\
tasks: {{sums: {{type: numbers}}, again: {{type: mirror, source: first}}}}
rewards: {{liked: {{type: learnt, model: second}}}}
stages:
  first: {{{LEARN}, task: sums}}
  second: {{{LEARN}, task: sums}}
  third: {{{LEARN}, task: again, rewards: [liked]}}
""")
    found = stages_reached(entries(recipe), recipe.stages["third"])
    assert found == {"first": "task 'again'", "second": "reward 'liked'"}


def test_a_reward_that_needs_a_later_stage_is_refused_where_it_is_used(load: Callable[[str], Recipe]) -> None:
    (fault,) = faults(
        load,
        f"""\
tasks: {{sums: {{type: numbers}}}}
rewards: {{liked: {{type: learnt, model: second}}}}
stages:
  first: {{{LEARN}, task: sums, rewards: [liked]}}
  second: {{{LEARN}, task: sums}}
""",
    )
    assert (
        fault
        == "5: stages.first: uses reward 'liked', which needs stage 'second', and that does not stand before it; move it up"
    )


def test_a_task_made_from_its_own_user_is_a_circle(load: Callable[[str], Recipe]) -> None:
    (fault,) = faults(load, f"tasks: {{again: {{type: mirror, source: s}}}}\nstages:\n  s: {{{LEARN}, task: again}}\n")
    assert "refers to itself in a circle" in fault


def test_learning_from_a_task_that_measures_is_refused(load: Callable[[str], Recipe]) -> None:
    (fault,) = faults(
        load,
        f"tasks: {{sums: {{type: numbers}}}}\nstages:\n  s: {{{LEARN}, task: sums}}\n  e: {{type: exam, task: sums}}\n",
    )
    assert fault == (
        "4: stages.s: learns from task 'sums', with which stage 'e' measures; give it other problems, such as another split"
    )


def test_learning_from_a_task_that_holds_a_measuring_one_is_refused(load: Callable[[str], Recipe]) -> None:
    (fault,) = faults(
        load,
        f"""\
tasks: {{sums: {{type: numbers}}, wrapped: {{type: mirror, source: sums}}}}
stages:
  s: {{{LEARN}, task: wrapped}}
  e: {{type: exam, task: sums}}
""",
    )
    assert "learns from task 'sums'" in fault


def test_looking_at_a_measuring_task_to_leave_its_problems_out_is_allowed(load: Callable[[str], Recipe]) -> None:
    recipe = load(f"""\
tasks: {{sums: {{type: numbers}}, raw: {{type: numbers, size: 9}}, cleaned: {{type: clean, task: raw, against: [sums]}}}}
stages:
  s: {{{LEARN}, task: cleaned}}
  e: {{type: exam, task: sums}}
""")
    assert list(recipe.stages) == ["s", "e"]
