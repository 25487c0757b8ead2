"""The hooks of the entry-point group `ponder`: one for each kind of component, each yielding records, and two observers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

from ponder.components import Component
from ponder.types import StageResult

if TYPE_CHECKING:
    from ponder.context import StageContext
    from ponder.doctor import Check
    from ponder.interfaces import BatchReward, Loss, Policy, Reward, Sampler, Stage, Task, Tracker

hookspec = pluggy.HookspecMarker("ponder")
hookimpl = pluggy.HookimplMarker("ponder")


@hookspec
def ponder_policies() -> Iterable[Component[Policy]]:
    """Policies: `build(config, checkpoint: Path | None, seed: int, task: Callable[[str], Task])`.

    `checkpoint` is a directory that `save` has written, or None; `seed` is for initial weights; `task` gives the task of a name.
    The options may have a method `footprint() -> Footprint` (`ponder.footprints`) for `ponder plan`.
    """
    yield from ()


@hookspec
def ponder_tasks() -> Iterable[Component[Task]]:
    """Tasks: `build(config)`."""
    yield from ()


@hookspec
def ponder_rewards() -> Iterable[Component[Reward | BatchReward]]:
    """Rewards: `build(config)`; the options extend `RewardConfig`."""
    yield from ()


@hookspec
def ponder_samplers() -> Iterable[Component[Sampler]]:
    """Samplers: `build(config)`."""
    yield from ()


@hookspec
def ponder_losses() -> Iterable[Component[Loss]]:
    """Policy-gradient losses: `build(config)`."""
    yield from ()


@hookspec
def ponder_stages() -> Iterable[Component[Stage]]:
    """Stages: `build(config)`.

    For `ponder plan`, the options may have methods `plan() -> str`, the arithmetic in one sentence, and
    `workload(recipe) -> Workload` (`ponder.workloads`).
    """
    yield from ()


@hookspec
def ponder_trackers() -> Iterable[Component[Tracker]]:
    """Trackers: `build(config, runs: Path)`; `runs` is the root of the run directories."""
    yield from ()


@hookspec
def ponder_checks() -> Iterable[Check]:
    """Checks that `ponder doctor` makes of the stages of a recipe, besides its own."""
    yield from ()


@hookspec
def ponder_stage_started(context: StageContext) -> None:
    """Called before a stage runs (not when its result is taken from the cache)."""


@hookspec
def ponder_stage_finished(context: StageContext, result: StageResult) -> None:
    """Called after a stage's result was published."""
