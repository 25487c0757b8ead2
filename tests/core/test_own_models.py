"""Samplers with a model of their own: which stages take them, said before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from ponder import Component, hookimpl, ref
from ponder.plugins import Registry, load_plugin_file
from ponder.problems import RecipeError
from ponder.recipe import Recipe, load_recipe

DATA = Path(__file__).parent.parent / "data"
HEAD = """\
policies: {base: {type: model}}
samplers: {teacher: {type: teacher}, own: {type: drawn}}
stages:
"""


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """A sampler with a model of its own."""

    own_model: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class DrawnConfig:
    """A sampler that draws from the policy."""


@dataclass(frozen=True, kw_only=True)
class WriteConfig:
    """A stage that takes either."""

    policy: str | None = ref("policy", default=None)
    sampler: str = ref("sampler")


@dataclass(frozen=True, kw_only=True)
class LearnConfig:
    """A stage that learns from what its policy says."""

    policy: str = ref("policy")
    sampler: str = ref("sampler")


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], Recipe]:
    registry = Registry()
    registry.register(load_plugin_file(DATA / "recipe_plugin.py"), "toy")
    samplers = [Component("teacher", TeacherConfig, print), Component("drawn", DrawnConfig, print)]
    stages = [Component("write", WriteConfig, print), Component("learn", LearnConfig, print)]
    more = SimpleNamespace(
        ponder_samplers=hookimpl(lambda: samplers, specname="ponder_samplers"),
        ponder_stages=hookimpl(lambda: stages, specname="ponder_stages"),
    )
    registry.register(more, "more")
    assert registry.broken == {}

    def load_text(stage: str) -> Recipe:
        file = tmp_path / "r.yaml"
        file.write_text(f"{HEAD}  s: {stage}\n", encoding="utf-8")
        return load_recipe(file, (), registry)

    return load_text


@pytest.mark.parametrize(
    "stage",
    [
        "{type: write, sampler: teacher}",
        "{type: write, policy: base, sampler: own}",
        "{type: learn, policy: base, sampler: own}",
    ],
)
def test_a_stage_has_a_policy_or_a_sampler_with_a_model(load: Callable[[str], Recipe], stage: str) -> None:
    assert load(stage).stages["s"]


@pytest.mark.parametrize(
    ("stage", "fault"),
    [
        ("{type: write, sampler: own}", "names no policy, and sampler 'own' (drawn) draws from one; add `policy: NAME`"),
        ("{type: write, policy: base, sampler: teacher}", "names policy 'base', which sampler 'teacher' (teacher) would not ask"),
        ("{type: learn, policy: base, sampler: teacher}", "learns from what its policy says, and sampler 'teacher' (teacher) asks"),
    ],
)  # fmt: skip
def test_neither_or_both_is_refused_with_its_line(load: Callable[[str], Recipe], stage: str, fault: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(stage)
    (problem,) = caught.value.problems
    assert f"r.yaml:4: stages.s: {fault}" in problem
