"""What a report reads of the stages before it; files that are missing or damaged count as empty."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from ponder.context import FinishedStage

Row: TypeAlias = Mapping[str, Any]
Points: TypeAlias = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Reading:
    """A finished stage with the rows of its files."""

    name: str
    type: str
    fingerprint: str
    options: Mapping[str, Any]
    metrics: Mapping[str, float]
    steps: Sequence[Row]
    """Lines of metrics.jsonl that have a step."""
    samples: Sequence[Row]
    """Rows of an evaluation's samples.jsonl."""
    probes: Sequence[Row]
    """Rows of a training stage's probes.jsonl: the same problems answered at several steps."""

    @property
    def is_evaluation(self) -> bool:
        """Whether the stage measured how often a policy is right."""
        return "pass@1" in self.metrics

    @property
    def subject(self) -> str:
        """The policy that the stage worked on."""
        return str(self.options.get("policy") or self.name)

    def curve(self, name: str) -> Points:
        """(step, value) of a metric, in order of steps."""
        points = [(float(row["step"]), float(row[name])) for row in self.steps if is_number(row.get(name))]
        return sorted(points)


def read_stage(stage: FinishedStage) -> Reading:
    """Everything that the report tells about a stage."""
    steps = [row for row in read_rows(stage.directory / "metrics.jsonl") if is_number(row.get("step"))]
    return Reading(
        name=stage.name,
        type=stage.type,
        fingerprint=stage.fingerprint,
        options=stage.options,
        metrics=stage.result.metrics,
        steps=steps,
        samples=read_rows(stage.directory / "samples.jsonl"),
        probes=[row for row in read_rows(stage.directory / "probes.jsonl") if is_number(row.get("step"))],
    )


def read_rows(path: Path) -> list[Row]:
    """The objects of a JSON Lines file; none when it is missing, and without the lines that do not parse."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [row for line in lines if isinstance(row := _parsed(line), dict)]


def is_number(value: object) -> bool:
    """Whether the value can be drawn: a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


def _parsed(line: str) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None
