"""Which stage of a run plays which part in the R1 recipe, told from what came from what and not from names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ponder_evaluation.pipeline import Pipeline, kind_of
from ponder_evaluation.readings import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """Names of stages, or of policies that no stage made; None where a run has nobody in a role."""

    base: str | None = None
    """What zero's weights began as."""
    zero: str | None = None
    """Reinforcement on the base alone."""
    cold_start: str | None = None
    """The base, fine-tuned on what zero wrote (Dev1)."""
    reasoning: str | None = None
    """Reinforcement on the cold start (Dev2)."""
    curated: str | None = None
    """What reasoning wrote, selected."""
    sft: str | None = None
    """The base again, fine-tuned on the curated data (Dev3)."""
    r1: str | None = None
    """Reinforcement on that."""
    distilled: tuple[str, ...] = ()
    """Other bases, fine-tuned on the recipe's data."""
    reinforced: tuple[str, ...] = ()
    """Reinforcement on one of these other bases."""

    @property
    def line(self) -> list[str]:
        """The models of the recipe in their order, without students."""
        names = (self.base, self.zero, self.cold_start, self.reasoning, self.sft, self.r1)
        return [name for name in names if name is not None]


def roles_of(pipeline: Pipeline) -> Roles:
    """Everyone's part; runs that are not the R1 recipe have as many parts filled as fit."""
    zero = _zero(pipeline)
    if zero is None:
        return Roles()
    base = pipeline.start(zero.name)
    cold_start = _tuned(pipeline, base, zero)
    reasoning = None if cold_start is None else _reinforced(pipeline, cold_start.name)
    curated = None if reasoning is None else _drawn(pipeline, reasoning.name)
    sft = None if reasoning is None else _tuned(pipeline, base, reasoning)
    r1 = None if sft is None else _reinforced(pipeline, sft.name)
    students = [stage for stage in pipeline.makers if stage.makes_policy and pipeline.root(stage.name) != base]
    distilled = [stage for stage in students if kind_of(stage) == "supervised" and _learnt_from(pipeline, stage, base)]
    roots = {pipeline.root(stage.name) for stage in distilled}
    return Roles(
        base=base,
        zero=zero.name,
        cold_start=_name(cold_start),
        reasoning=_name(reasoning),
        curated=_name(curated),
        sft=_name(sft),
        r1=_name(r1),
        distilled=tuple(stage.name for stage in distilled),
        reinforced=tuple(
            stage.name
            for stage in students
            if kind_of(stage) == "reinforcement" and pipeline.start(stage.name) in roots
        ),
    )


def _name(stage: Reading | None) -> str | None:
    return None if stage is None else stage.name


def _zero(pipeline: Pipeline) -> Reading | None:
    """Reinforcement straight on a base: the one whose writing became data, or else the first."""
    found = [
        stage
        for stage in pipeline.makers
        if kind_of(stage) == "reinforcement" and pipeline.start(stage.name) == pipeline.root(stage.name)
    ]
    taught = [stage for stage in found if _drawn(pipeline, stage.name)]
    return next(iter(taught or found), None)


def _drawn(pipeline: Pipeline, policy: str) -> Reading | None:
    """The data that a policy wrote."""
    return next((stage for stage in _of(pipeline, policy) if kind_of(stage) == "data"), None)


def _reinforced(pipeline: Pipeline, policy: str) -> Reading | None:
    return next((stage for stage in _of(pipeline, policy) if kind_of(stage) == "reinforcement"), None)


def _tuned(pipeline: Pipeline, base: str | None, writer: Reading) -> Reading | None:
    """The base fine-tuned on data that this writer wrote."""
    for stage in pipeline.makers:
        written = {source.options.get("policy") for source in pipeline.sources(stage.name, "data")}
        if kind_of(stage) == "supervised" and pipeline.start(stage.name) == base and writer.name in written:
            return stage
    return None


def _learnt_from(pipeline: Pipeline, stage: Reading, base: str | None) -> bool:
    """Whether the stage's data were written by a policy of another family."""
    sources = pipeline.sources(stage.name, "data")
    return any(pipeline.root(str(source.options.get("policy"))) == base for source in sources)


def _of(pipeline: Pipeline, policy: str) -> Iterator[Reading]:
    return (stage for stage in pipeline.makers if stage.options.get("policy") == policy)
