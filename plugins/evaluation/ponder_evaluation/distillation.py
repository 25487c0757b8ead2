"""Distillation against reinforcement on the same student: what each reached, and what it cost.

The compute of a policy is what its own stage spent plus what the stages spent that sampled its data: for a distilled student the
teacher's sampling is included. What came before, the student's pre-training and the teacher's training, is not: the first both
have in common, and the paper does not count the second either (DeepSeek-R1, section 4.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from ponder.context import FinishedStage

Method = Literal["distillation", "reinforcement"]

BUDGET: Final = "compute_of"
"""The option by which a stage of reinforcement names the stages whose compute it was given."""


@dataclass(frozen=True, slots=True)
class ComputeRow:
    """A policy, what was spent on it, and how it did in one evaluation."""

    model: str
    method: Method
    stages: tuple[str, ...]
    """The stages whose compute is counted."""
    flops: float
    relative: float
    """Compute as a multiple of the reference."""
    exam: str
    """The evaluation."""
    task: str
    pass_at_1: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ComputeTable:
    """Rows of one comparison at equal compute, by task and then as the evaluations stand in the recipe."""

    reference: tuple[str, ...]
    """The stages whose compute together is 1."""
    reference_flops: float
    rows: tuple[ComputeRow, ...]


def compute_table(finished: Sequence[FinishedStage]) -> ComputeTable | None:
    """The comparison that the recipe declares by giving a stage the compute of others; None when it declares none.

    In it are all policies that were trained with such a budget, and all students of the reference's teacher: policies that were
    trained on data which one of its stages made, and from which the teacher does not descend. Each stands as often as it was
    evaluated; those whose stages did not count their operations are left out.
    """
    stages = {stage.name: stage for stage in finished}
    reference = next((names for stage in finished if (names := _budget(stage))), ())
    reference_flops = sum(_flops(stages[name]) or 0.0 for name in reference if name in stages)
    if not reference_flops:
        return None
    teachers = {name for name in reference if name in stages and stages[name].result.task is not None}
    taught = {stage.name for stage in finished if _is_student(stage, stages, teachers)}
    rows = [row for exam in finished for row in _rows(exam, stages, taught, reference_flops)]
    tasks = list(dict.fromkeys(row.task for row in rows))
    return ComputeTable(tuple(reference), reference_flops, tuple(sorted(rows, key=lambda row: tasks.index(row.task))))


def counted_stages(stage: FinishedStage, stages: Mapping[str, FinishedStage]) -> tuple[str, ...]:
    """A policy's own stage and the stages that made the data it was trained on."""
    names = [
        name
        for name in stage.parents
        if name in stages and name not in _budget(stage) and stages[name].result.task is not None
    ]
    return (stage.name, *names)


def _rows(
    exam: FinishedStage, stages: Mapping[str, FinishedStage], taught: set[str], reference_flops: float
) -> Iterator[ComputeRow]:
    metrics, policy = exam.result.metrics, stages.get(str(exam.options.get("policy")))
    if policy is None or "pass@1" not in metrics or policy.result.policy is None:
        return
    counted = counted_stages(policy, stages)
    spent = [_flops(stages[name]) for name in counted]
    if None in spent or not (policy.name in taught or _budget(policy)):
        return
    flops = sum(value for value in spent if value is not None)
    yield ComputeRow(
        model=policy.name,
        method="distillation" if policy.name in taught else "reinforcement",
        stages=counted,
        flops=flops,
        relative=flops / reference_flops,
        exam=exam.name,
        task=str(exam.options.get("task")),
        pass_at_1=metrics["pass@1"],
        low=metrics["pass@1_low"],
        high=metrics["pass@1_high"],
    )


def _is_student(stage: FinishedStage, stages: Mapping[str, FinishedStage], teachers: set[str]) -> bool:
    used = teachers & set(counted_stages(stage, stages))
    return stage.result.policy is not None and any(
        stage.options.get("policy") not in _forebears(name, stages) for name in used
    )


def _forebears(name: str, stages: Mapping[str, FinishedStage]) -> set[object]:
    """The policies that a stage descends from, itself not included."""
    found: set[object] = set()
    waiting = [name]
    while waiting:
        stage = stages.get(waiting.pop())
        origins = [] if stage is None else [stage.options.get("policy"), *stage.parents]
        waiting += [str(origin) for origin in origins if origin not in found]
        found.update(origins)
    return found


def _flops(stage: FinishedStage) -> float | None:
    return stage.result.metrics.get("flops")


def _budget(stage: FinishedStage) -> tuple[str, ...]:
    given: Any = stage.options.get(BUDGET) or ()
    return tuple(str(name) for name in given) if isinstance(given, list | tuple) else ()
