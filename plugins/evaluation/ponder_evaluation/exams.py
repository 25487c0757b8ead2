"""Charts of evaluations: voting, test-time compute, difficulty, language, for the models that took the same exam."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Final

from ponder_evaluation.breakdown import natural_order
from ponder_evaluation.charts import Chart, Line
from ponder_evaluation.pipeline import Pipeline
from ponder_evaluation.readings import Reading, Row, is_number

MOST_NAMES: Final = 8
GROUPS: Final = {"language": "language of the question", "task": "part of the task", "kind": "kind", "wish": "wish"}
DODGE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Exam:
    """Evaluations on one task under the same conditions."""

    task: str
    shots: int
    """Worked examples before each question."""
    evaluations: Sequence[Reading]

    @property
    def title(self) -> str:
        """What it is called on the page."""
        return self.task if not self.shots else f"{self.task}, {self.shots} examples before each question"

    @property
    def is_general(self) -> bool:
        """Whether it measures other skills than reasoning: its problems tell what kind of wish they hold."""
        return any(name in groups_of(stage) for stage in self.evaluations for name in ("kind", "wish"))

    def of(self, model: str | None) -> Reading | None:
        """The evaluation of a model; the last when there are several."""
        return next((stage for stage in reversed(self.evaluations) if stage.subject == model), None)


def exams_of(pipeline: Pipeline) -> list[Exam]:
    """The exams of a run, in the order of their first evaluations, those without examples first."""
    found: dict[tuple[str, int], list[Reading]] = {}
    for stage in pipeline.evaluations:
        found.setdefault((str(stage.options.get("task", "problems")), shots_of(stage)), []).append(stage)
    order = list(pipeline.models)
    exams = [
        Exam(task, shots, sorted(evaluations, key=lambda stage: order.index(stage.subject)))
        for (task, shots), evaluations in found.items()
    ]
    return sorted(exams, key=lambda exam: exam.shots > 0)


def shots_of(stage: Reading) -> int:
    """Worked examples before each question of an evaluation."""
    shots = stage.options.get("shots", 0)
    return int(shots) if is_number(shots) else 0


def groups_of(stage: Reading) -> Mapping[str, Sequence[Row]]:
    """An evaluation's results by group: name of the grouping, then a row for each value."""
    groups = stage.record.get("groups")
    if not isinstance(groups, Mapping):
        return {}
    rows = {name: [row for row in found if _is_group(row)] for name, found in groups.items() if isinstance(found, list)}
    return {name: found for name, found in rows.items() if found}


def families(pipeline: Pipeline, exam: Exam) -> list[list[Reading]]:
    """The evaluations of an exam in two parts: the family of models that most of them belong to, and all others."""
    roots: dict[str, list[Reading]] = {}
    for stage in exam.evaluations:
        roots.setdefault(pipeline.root(stage.subject), []).append(stage)
    largest = max(roots.values(), key=len, default=[])
    others = [stage for stage in exam.evaluations if stage not in largest]
    return [part for part in (largest, others) if part]


def exam_charts(pipeline: Pipeline, evaluations: Sequence[Reading]) -> list[Chart]:
    """The charts that these evaluations of one exam allow."""
    draw = _Drawer(pipeline, evaluations)
    charts = [
        draw.curve("cons@k", "Majority vote", "samples that vote (k)", "share of problems", "k"),
        draw.curve("pass@k", "At least one of k is right", "samples (k)", "share of problems", "k"),
        draw.curve("limit", "Test-time compute", "tokens allowed", "pass@1", "tokens"),
        draw.curve("length", "Right answers by length", "tokens of the response", "share of responses", "mean"),
        draw.against_length(),
        draw.by_number("difficulty", "Accuracy by difficulty", "pass@1"),
        draw.lengths_by_difficulty(),
        *(draw.by_name(name, words) for name, words in GROUPS.items()),
    ]
    return [chart for chart in charts if chart is not None and any(line.points for line in chart.lines)]


def by_difficulty(stage: Reading) -> list[tuple[str, float, float]]:
    """(difficulty, pass@1, mean response length) in natural order; from the samples where nothing else tells."""
    rows = groups_of(stage).get("difficulty")
    if rows:
        return [
            (str(row["value"]), float(row["pass@1"]), float(row["response_length"]))
            for row in rows
            if is_number(row.get("response_length"))
        ]
    found: dict[str, list[Row]] = {}
    for row in stage.samples:
        if row.get("difficulty") is not None:
            found.setdefault(str(row["difficulty"]), []).append(row)
    return [
        (name, fmean(bool(row["correct"]) for row in found[name]), fmean(float(row["length"]) for row in found[name]))
        for name in sorted(found, key=natural_order)
    ]


class _Drawer:
    def __init__(self, pipeline: Pipeline, evaluations: Sequence[Reading]) -> None:
        self._pipeline = pipeline
        self._evaluations = evaluations

    def curve(self, key: str, title: str, x: str, y: str, at: str) -> Chart:
        """A line per model through the points of a curve of its evaluation."""
        lines = []
        for stage in self._evaluations:
            rows = [row for row in _curve(stage, key) if is_number(row.get(at)) and is_number(row.get("value"))]
            points = [(float(row[at]), float(row["value"])) for row in rows]
            lines.append(self._line(stage, points, intervals=_intervals(rows) if len(self._evaluations) < 4 else ()))
        return Chart(title, x, y, lines, is_share=True, scale="linear" if key == "length" else "log")

    def against_length(self) -> Chart | None:
        """A line per model through its difficulties: how long it thinks, and how often it is right."""
        lines = []
        for stage in self._evaluations:
            rows = by_difficulty(stage)
            if rows:
                names = [name for name, _, _ in rows]
                lines.append(self._line(stage, [(length, share) for _, share, length in rows], labels=names))
            elif "response_length" in stage.metrics:
                lines.append(self._line(stage, [(stage.metrics["response_length"], stage.metrics["pass@1"])]))
        if sum(len(line.points) for line in lines) < 2:
            return None
        return Chart(
            "Accuracy against length",
            "mean tokens per response",
            "pass@1, a point per difficulty",
            lines,
            is_share=True,
        )

    def by_number(self, group: str, title: str, y: str) -> Chart | None:
        """A line per model over the difficulties, when those are numbers."""
        lines = []
        for stage in self._evaluations:
            rows = by_difficulty(stage)
            if rows and all(_is_numeric(name) for name, _, _ in rows):
                lines.append(self._line(stage, [(float(name), share) for name, share, _ in rows]))
        return Chart(title, group, y, lines, is_share=True) if _has_run(lines) else None

    def lengths_by_difficulty(self) -> Chart | None:
        """A line per model: whether it thinks longer about what is harder."""
        lines = []
        for stage in self._evaluations:
            rows = by_difficulty(stage)
            if rows and all(_is_numeric(name) for name, _, _ in rows):
                lines.append(self._line(stage, [(float(name), length) for name, _, length in rows]))
        return (
            Chart("Thinking time by difficulty", "difficulty", "tokens per response", lines)
            if _has_run(lines)
            else None
        )

    def by_name(self, group: str, words: str) -> Chart | None:
        """A dot per model over the names of a group, with its interval."""
        names = list(
            dict.fromkeys(str(row["value"]) for stage in self._evaluations for row in groups_of(stage).get(group, []))
        )
        if not 2 <= len(names) <= MOST_NAMES:
            return None
        lines = []
        for place, stage in enumerate(self._evaluations):
            rows = groups_of(stage).get(group, [])
            shift = DODGE * ((place + 0.5) / len(self._evaluations) - 0.5)
            points = [(names.index(str(row["value"])) + shift, float(row["pass@1"])) for row in rows]
            bounds = [(float(row["pass@1_low"]), float(row["pass@1_high"])) for row in rows if _has_interval(row)]
            told = [str(row["value"]) for row in rows]
            line = self._line(stage, points, labels=told, style="scattered")
            lines.append(replace(line, intervals=bounds if len(bounds) == len(points) else ()))
        return Chart(f"By {words}", words, "pass@1 with 95 % interval", lines, is_share=True, names=names)

    def _line(self, stage: Reading, points: Sequence[tuple[float, float]], **more: Any) -> Line:
        model = self._pipeline.models[stage.subject]
        return Line(model.name, points, model.colour, **{"style": "dots", **more})


def _curve(stage: Reading, key: str) -> Iterator[Row]:
    curves = stage.record.get("curves")
    rows = curves.get(key) if isinstance(curves, Mapping) else None
    return (row for row in rows if isinstance(row, Mapping)) if isinstance(rows, list) else iter(())


def _intervals(rows: Sequence[Row]) -> list[tuple[float, float]]:
    is_whole = all(is_number(row.get("low")) and is_number(row.get("high")) for row in rows)
    return [(float(row["low"]), float(row["high"])) for row in rows] if is_whole else []


def _is_group(row: object) -> bool:
    return isinstance(row, Mapping) and "value" in row and is_number(row.get("pass@1"))


def _has_interval(row: Row) -> bool:
    return is_number(row.get("pass@1_low")) and is_number(row.get("pass@1_high"))


def _has_run(lines: Sequence[Line]) -> bool:
    return any(len(line.points) > 1 for line in lines)


def _is_numeric(written: str) -> bool:
    try:
        return is_number(float(written))
    except ValueError:
        return False
