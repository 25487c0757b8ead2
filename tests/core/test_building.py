"""What is built for a stage: tasks of tasks and of stages, rewards that stages made, samplers with changed options."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from ponder import Completion, Component, Example, RewardConfig, Rollout, hookimpl, ref
from ponder.building import build_rubric, build_sampler, build_task
from ponder.context import FinishedStage
from ponder.errors import InputError
from ponder.interfaces import Task

RECIPE = """
name: toy
policies:
  base: {type: toy, value: 2.0}
tasks:
  few: {type: few, size: 2}
  twice: {type: twice, source: few}
rewards:
  learnt: {type: learnt, model: first}
samplers:
  warm: {type: warm, temperature: 0.5}
stages:
  first: {type: count, policy: base, steps: 2}
"""


@dataclass(frozen=True, kw_only=True)
class FewConfig:
    """A few examples."""

    size: int = 1


@dataclass(frozen=True, kw_only=True)
class TwiceConfig:
    """A task, two times."""

    source: str = ref("task")


@dataclass(frozen=True, kw_only=True)
class LearntConfig(RewardConfig):
    """A reward that a stage made."""

    model: str = ref("stage")


@dataclass(frozen=True, kw_only=True)
class WarmConfig:
    """A sampler that says what it was made from."""

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError("temperature must not be negative")


class Few:
    def __init__(self, config: FewConfig) -> None:
        self.size = config.size

    def examples(self) -> Iterator[Example]:
        return iter(Example(str(number)) for number in range(self.size))


class Twice:
    def __init__(self, config: TwiceConfig, task: Callable[[str], Task]) -> None:
        self.source = task(config.source)

    def examples(self) -> Iterator[Example]:
        return iter([*self.source.examples(), *self.source.examples()])


class Learnt:
    def __init__(self, config: LearntConfig, stage: Callable[[str], FinishedStage]) -> None:
        self.value = stage(config.model).result.metrics["total"]

    def score(self, rollouts: Sequence[Rollout]) -> list[float]:
        return [self.value] * len(rollouts)


def offering(hook: str, component: Component[Any]) -> object:
    return hookimpl(lambda: [component], specname=hook)


@pytest.fixture
def laboratory(laboratory: Any) -> Any:
    laboratory.recipe_text = RECIPE
    plugin = SimpleNamespace(
        a=offering("ponder_tasks", Component("few", FewConfig, Few)),
        b=offering("ponder_tasks", Component("twice", TwiceConfig, Twice)),
        c=offering("ponder_rewards", Component("learnt", LearntConfig, Learnt)),
        d=offering("ponder_samplers", Component("warm", WarmConfig, SimpleNamespace)),
    )
    plugin.d = offering("ponder_samplers", Component("warm", WarmConfig, lambda config: config))
    laboratory.registry.register(plugin, "builders")
    assert laboratory.registry.broken == {}
    return laboratory


def test_a_task_is_given_the_task_it_names(laboratory: Any) -> None:
    task = build_task(laboratory.recipe(), laboratory.registry, {}, "twice")
    assert [example.prompt for example in task.examples()] == ["0", "1", "0", "1"]


def test_a_reward_is_given_the_stage_it_names(laboratory: Any) -> None:
    finished = {stage.name: stage for stage in laboratory.run().stages}
    with build_rubric(laboratory.recipe(), finished, ["learnt"], print) as rubric:
        (score,) = rubric.score([Rollout(Example("q"), Completion("a"), 0)])
    assert score.parts["learnt"] == finished["first"].result.metrics["total"]


def test_a_reward_whose_stage_has_not_run_says_so(laboratory: Any) -> None:
    with pytest.raises(InputError, match="stage 'first' has not run before; have: none"):
        build_rubric(laboratory.recipe(), {}, ["learnt"], print)


def test_a_sampler_is_built_with_changed_options(laboratory: Any) -> None:
    recipe = laboratory.recipe()
    assert build_sampler(recipe, "warm", {}).temperature == 0.5  # type: ignore[attr-defined]
    assert build_sampler(recipe, "warm", {"temperature": 0.7}).temperature == 0.7  # type: ignore[attr-defined]


def test_changing_an_option_that_a_sampler_has_not_is_an_input_error(laboratory: Any) -> None:
    with pytest.raises(InputError, match=r"sampler 'warm' \(warm\) has no option 'max_new_tokens'"):
        build_sampler(laboratory.recipe(), "warm", {"max_new_tokens": 3})
