"""What a report reads of the stages before it; files that are missing or damaged count as empty."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

if TYPE_CHECKING:
    from ponder.context import FinishedStage

Row: TypeAlias = Mapping[str, Any]
Points: TypeAlias = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A finished stage with the rows of its files."""

    name: str
    type: str
    fingerprint: str
    options: Mapping[str, Any]
    metrics: Mapping[str, float]
    parents: Mapping[str, str] = field(default_factory=dict)
    """Fingerprints of the stages it was made from, by name."""
    makes_policy: bool = False
    makes_task: bool = False
    steps: Sequence[Row] = ()
    """Lines of metrics.jsonl that have a step."""
    samples: Sequence[Row] = ()
    """Rows of an evaluation's samples.jsonl."""
    probes: Sequence[Row] = ()
    """Rows of a training stage's probes.jsonl: the same problems answered at several steps."""
    expert_loads: Sequence[Row] = ()
    """Rows of a training stage's expert_loads.jsonl: the tokens given to each expert of a layer in a step."""
    funnel: Sequence[Row] = ()
    """What each step of a rejection sampling kept and removed."""
    deviations: Sequence[Row] = ()
    """What a run changes from the preset that it names."""
    record: Row = field(default_factory=dict)
    """What an evaluation's evaluation.json holds."""
    context: Row = field(default_factory=dict)
    """What a context extension's context.json holds: perplexity by position and needles found, before and after."""

    @property
    def is_evaluation(self) -> bool:
        """Whether the stage measured how often a policy is right, and made none itself."""
        return "pass@1" in self.metrics and not self.makes_policy

    @property
    def is_report(self) -> bool:
        """Whether the stage is a page like this one."""
        return self.type == "report"

    @property
    def preset(self) -> str:
        """The name of the preset that the stage's options begin with; empty when it names none."""
        return str(self.options.get("preset") or "")

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
    directory = stage.directory
    return Reading(
        name=stage.name,
        type=stage.type,
        fingerprint=stage.fingerprint,
        options=stage.options,
        metrics={name: value for name, value in stage.result.metrics.items() if is_number(value)},
        parents=stage.parents,
        makes_policy=stage.result.policy is not None,
        makes_task=stage.result.task is not None,
        steps=[row for row in read_rows(directory / "metrics.jsonl") if is_number(row.get("step"))],
        samples=list(_samples(directory / "samples.jsonl")),
        probes=[row for row in read_rows(directory / "probes.jsonl") if is_number(row.get("step"))],
        expert_loads=read_rows(directory / "expert_loads.jsonl"),
        funnel=[row for row in read_list(directory / "funnel.json") if is_number(row.get("kept"))],
        deviations=read_list(directory / "deviations.json", within="deviations"),
        record=read_object(directory / "evaluation.json"),
        context=read_object(directory / "context.json"),
    )


def read_rows(path: Path) -> list[Row]:
    """The objects of a JSON Lines file; none when it is missing, and without the lines that do not parse."""
    return [row for line in _text(path).split("\n") if isinstance(row := _parsed(line), dict)]


def read_list(path: Path, *, within: str = "") -> list[Row]:
    """The objects of a JSON file that holds a list of them, or holds it `within` an object; none when there is no such list."""
    content = _parsed(_text(path))
    if isinstance(content, dict):
        content = content.get(within)
    return [row for row in content if isinstance(row, dict)] if isinstance(content, list) else []


def read_object(path: Path) -> Row:
    """The object that a JSON file holds; an empty one when it is missing or holds anything else."""
    content = _parsed(_text(path))
    return content if isinstance(content, dict) else {}


def is_number(value: object) -> TypeGuard[float]:
    """Whether the value can be drawn: a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


def _samples(path: Path) -> Iterator[Row]:
    """Rows that say at least which problem they answer, how long they are, and whether they are right."""
    for row in read_rows(path):
        if "correct" in row and is_number(row.get("length")) and is_number(row.get("problem")):
            yield row


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _parsed(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
