"""The figures of a recipe before it runs: what its policies hold, and what its stages cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ponder.costing import Cost, Fleet, Memory, cost, training_memory
from ponder.devices import PRECISIONS, PrecisionName
from ponder.errors import InputError
from ponder.published import PUBLICATIONS, Publication
from ponder.suggestions import did_you_mean

if TYPE_CHECKING:
    from ponder.footprints import Footprint, Sizes
    from ponder.planning import PlannedStage
    from ponder.recipe import Entry, Recipe
    from ponder.workloads import Workload


@dataclass(frozen=True, slots=True)
class PolicyFigures:
    """A policies entry."""

    name: str
    sizes: Sizes
    publication: Publication | None
    step: StepFigures | None
    """The training step of its stages that holds the most; None when no stage trains it."""
    memory: Mapping[PrecisionName, Memory]
    """That step in each precision."""


@dataclass(frozen=True, slots=True)
class StepFigures:
    """The training step of a stage."""

    stage: str
    rows: int
    length: int
    memory: Memory


@dataclass(frozen=True, slots=True)
class StageFigures:
    """A stage of the recipe."""

    name: str
    is_cached: bool
    cost: Cost
    is_bound: bool
    """Whether tokens and all that follows from them are the most there can be."""
    step: StepFigures | None


@dataclass(frozen=True, slots=True)
class Figures:
    """All of a recipe."""

    fleet: Fleet
    policies: Sequence[PolicyFigures]
    stages: Sequence[StageFigures]
    unknown: Mapping[str, str]
    """Why a policy has no figures, by its name."""


def figures(recipe: Recipe, stages: Sequence[PlannedStage], fleet: Fleet, tokens: Mapping[str, int]) -> Figures:
    """Figures of every policy that says what it holds, and of the stages that say what they ask of it.

    `tokens` are those that stages train on, for stages where only the data can tell.
    """
    for name in tokens:
        if name not in recipe.stages:
            raise InputError(f"--tokens {name}: no such stage; {did_you_mean(name, recipe.stages)}")
    footprints, unknown = _footprints(recipe)
    found = [
        _stage_figures(recipe, stage, footprints[stage.policy], fleet, tokens)
        for stage in stages
        if stage.policy in footprints and hasattr(stage.entry.config, "workload")
    ]
    owners = {stage.entry.name: stage.policy for stage in stages}
    policies = [
        _policy_figures(name, footprint, fleet, [stage for stage in found if owners[stage.name] == name])
        for name, footprint in footprints.items()
    ]
    return Figures(fleet, policies, found, unknown)


def _footprints(recipe: Recipe) -> tuple[dict[str, Footprint], dict[str, str]]:
    footprints, unknown = {}, {}
    for name, entry in recipe.policies.items():
        if hasattr(entry.config, "footprint"):
            try:
                footprint = entry.config.footprint()
                # What cannot be counted is found here, rather than in the middle of a stage's figures.
                assert footprint.sizes
                footprints[name] = footprint
            except InputError as error:
                unknown[name] = str(error)
    return footprints, unknown


def _stage_figures(
    recipe: Recipe, stage: PlannedStage, footprint: Footprint, fleet: Fleet, tokens: Mapping[str, int]
) -> StageFigures:
    name = stage.entry.name
    workload = _workload(recipe, stage.entry)
    if name in tokens:
        workload = replace(workload, trained=tokens[name])
    step = _step(name, footprint, workload, fleet) if workload.pass_tokens else None
    return StageFigures(name, stage.is_cached, cost(footprint.sizes, workload, fleet), workload.is_bound, step)


def _step(stage: str, footprint: Footprint, workload: Workload, fleet: Fleet) -> StepFigures | None:
    length = min(workload.length or footprint.sizes.context, workload.pass_tokens)
    rows = workload.pass_tokens // length
    with suppress(InputError):
        return StepFigures(stage, rows, length, training_memory(footprint, fleet, rows, length))
    return None


def _workload(recipe: Recipe, entry: Entry) -> Workload:
    workload: Workload = entry.config.workload(recipe)
    return workload


def _policy_figures(name: str, footprint: Footprint, fleet: Fleet, stages: Sequence[StageFigures]) -> PolicyFigures:
    steps = [stage.step for stage in stages if stage.step is not None]
    step = max(steps, key=lambda step: step.memory.peak, default=None)
    memory = dict(_by_precision(footprint, fleet, step)) if step else {}
    return PolicyFigures(name, footprint.sizes, PUBLICATIONS.get(footprint.sizes.parameters), step, memory)


def _by_precision(footprint: Footprint, fleet: Fleet, step: StepFigures) -> Iterator[tuple[PrecisionName, Memory]]:
    for name, precision in PRECISIONS.items():
        yield name, training_memory(footprint, replace(fleet, precision=precision), step.rows, step.length)
