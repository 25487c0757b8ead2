"""Which charts a report shows: curves of training stages, and accuracy against length by difficulty."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Final

from ponder_evaluation.charts import Chart, Line
from ponder_evaluation.markup import plain
from ponder_evaluation.readings import Reading, Row
from ponder_evaluation.summary import natural_order

MOST_LINES: Final = 6
LABELS: Final = {
    "language_consistency": "language asked for",
    "chinese_share": "Chinese",
    "mixed_languages": "mixed responses",
}


def curves(stage: Reading) -> list[Chart]:
    """The charts over steps that a training stage's metrics allow."""
    is_rewarded = any(stage.curve(name) for name in _rewards(stage))
    # The objective of reinforcement has no unit and no meaning by itself: there the rewards are what to look at.
    losses = [] if is_rewarded else ["loss", "validation_loss", "held_out_loss"]
    charts = (
        _chart(stage, "Loss", "nats per token", losses),
        _chart(stage, "Accuracy and other rewards", "mean score", _rewards(stage), is_share=_are_shares(stage)),
        _chart(stage, "Response length", "tokens", ["response_length"]),
        _chart(
            stage, "Languages", "share", ["language_consistency", "chinese_share", "mixed_languages"], is_share=True
        ),
        _chart(stage, "Reflection", "reflective words per response", ["reflection_rate"]),
        _chart(stage, "Entropy", "nats per token", ["entropy"]),
        _chart(stage, "Distance from the reference", "KL, nats per token", ["kl"] if _moves(stage, "kl") else []),
    )
    return [chart for chart in charts if chart is not None]


def comparisons(evaluations: Sequence[Reading]) -> list[Chart]:
    """The charts that compare evaluations."""
    charts = (length_against_accuracy(evaluations), accuracy_by_difficulty(evaluations))
    return [chart for chart in charts if chart is not None]


def length_against_accuracy(evaluations: Sequence[Reading]) -> Chart | None:
    """A line per evaluation through its difficulties: how long the policy thinks, and how often it is right."""
    lines = [line for line in map(_length_line, evaluations) if line.points]
    if not lines:
        return None
    return Chart("Accuracy against response length", "mean response length, tokens", "pass@1", lines, is_share=True)


def accuracy_by_difficulty(evaluations: Sequence[Reading]) -> Chart | None:
    """A line per evaluation over the difficulties, when those are numbers."""
    lines = []
    for stage in evaluations:
        groups = by_difficulty(stage.samples)
        if groups and all(_is_numeric(difficulty) for difficulty in groups):
            points = [(float(difficulty), _accuracy(rows)) for difficulty, rows in groups.items()]
            lines.append(Line(plain(stage.subject), points))
    if not any(len(line.points) > 1 for line in lines):
        return None
    return Chart("Accuracy by difficulty", "difficulty", "pass@1", lines, is_share=True)


def by_difficulty(samples: Sequence[Row]) -> dict[str, list[Row]]:
    """Samples by difficulty, in natural order; those without one are left out."""
    groups: dict[str, list[Row]] = {}
    for row in samples:
        if row.get("difficulty") is not None:
            groups.setdefault(str(row["difficulty"]), []).append(row)
    return {difficulty: groups[difficulty] for difficulty in sorted(groups, key=natural_order)}


def _chart(stage: Reading, title: str, unit: str, names: Sequence[str], *, is_share: bool = False) -> Chart | None:
    lines = [Line(_label(name), points) for name in names if (points := stage.curve(name))]
    return Chart(title, "step", unit, lines[:MOST_LINES], is_share) if lines else None


def _label(name: str) -> str:
    return plain(LABELS.get(name, name.removeprefix("rewards/")))


def _rewards(stage: Reading) -> list[str]:
    names = dict.fromkeys(name for row in stage.steps for name in row if name.startswith("rewards/"))
    return [name for name in names if name.count("/") == 1] or ["reward"]


def _moves(stage: Reading, name: str) -> bool:
    return any(value != 0 for _, value in stage.curve(name))


def _are_shares(stage: Reading) -> bool:
    return all(0 <= value <= 1 for name in _rewards(stage) for _, value in stage.curve(name))


def _length_line(stage: Reading) -> Line:
    groups: Mapping[str, Sequence[Row]] = by_difficulty(stage.samples)
    if not groups and stage.samples:
        groups = {"all": stage.samples}
    points = [(fmean(float(row["length"]) for row in rows), _accuracy(rows)) for rows in groups.values()]
    return Line(plain(stage.subject), points, [plain(difficulty) for difficulty in groups])


def _accuracy(rows: Sequence[Row]) -> float:
    return fmean(bool(row["correct"]) for row in rows)


def _is_numeric(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
