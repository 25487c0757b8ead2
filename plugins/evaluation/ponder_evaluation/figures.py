"""Which charts a report shows of a training stage: its numbers over steps, with the steps where something changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from ponder_evaluation.charts import Chart, Line
from ponder_evaluation.pipeline import Pipeline, kind_of
from ponder_evaluation.readings import Reading, is_number

MOST_LINES: Final = 6
MOST_UNKNOWN: Final = 6
LABELS: Final = {
    "language_consistency": "language asked for",
    "chinese_share": "Chinese",
    "mixed_languages": "mixed responses",
    "token_accuracy": "tokens",
    "held_out_accuracy": "held out",
}
LANGUAGES: Final = ("language_consistency", "chinese_share", "mixed_languages")
FORMAT: Final = "format"
"""The reward for keeping the format, whatever it is called beyond that."""
OVER_STEPS: Final[Mapping[str, tuple[str, str, bool]]] = {
    "pass@1": ("pass@1", "share of responses, training problems", True),
    "cons@": ("Majority vote (cons@k)", "share of problems, training problems", True),
    "response_length": ("Thinking time", "tokens per response", False),
    "reflection_rate": ("Reflective words", "per response", False),
    "language_consistency": ("Language consistency", "share of words", True),
    "mixed_languages": ("Mixed languages", "share of responses", True),
    FORMAT: ("Format", "mean reward", True),
    "truncated": ("Cut off at the limit", "share of responses", True),
}
"""What is compared over the steps of all reinforcement: metric or its beginning, title, unit, whether it is a share."""


def curves(pipeline: Pipeline, stage: Reading) -> list[Chart]:
    """The charts over steps that a training stage's metrics allow."""
    model = pipeline.models.get(stage.name)
    draw = _Drawer(stage, model.colour if model else None)
    charts = [*_known(stage, draw)]
    return charts or list(_unknown(stage, draw))


def emergence(pipeline: Pipeline) -> list[tuple[str, list[Chart]]]:
    """For each family of models with reinforcement, by its root: what its stages did over their steps, in one chart each."""
    families: dict[str, list[Reading]] = {}
    for stage in pipeline.makers:
        if kind_of(stage) == "reinforcement" and stage.steps:
            families.setdefault(pipeline.root(stage.name), []).append(stage)
    return [(root, list(_over_steps(pipeline, stages))) for root, stages in families.items()]


def changes(stage: Reading) -> list[tuple[float, str]]:
    """The steps at which a limit was raised, or a reward or a part of the problems joined."""
    options = stage.options
    limits = options.get("length_limits")
    found = [
        (row["step"], f"limit {row.get('max_new_tokens')}")
        for row in (limits if isinstance(limits, list) else [])
        if isinstance(row, Mapping) and is_number(row.get("step"))
    ]
    joined: dict[float, list[str]] = {}
    for name, step in chain(_items(options.get("reward_from")), _items(options.get("task_from"))):
        if is_number(step) and step > 0:
            joined.setdefault(step, []).append(name)
    return sorted([*found, *((step, f"+ {', '.join(dict.fromkeys(names))}") for step, names in joined.items())])


class _Drawer:
    def __init__(self, stage: Reading, colour: int | None) -> None:
        self._stage = stage
        self._colour = colour

    def chart(self, title: str, unit: str, names: Sequence[str], *, is_share: bool = False) -> Iterator[Chart]:
        """A chart of the metrics that the stage has; none when it has none."""
        known = [(name, points) for name in names if (points := self._stage.curve(name))][:MOST_LINES]
        colour = self._colour if len(known) == 1 else None
        lines = [Line(_label(name), points, colour) for name, points in known]
        # Where a line leaves the range of shares, it is not one.
        is_share = is_share and all(-0.01 <= y <= 1.01 for line in lines for _, y in line.points)
        if lines:
            yield Chart(title, "step", unit, lines, is_share, changes(self._stage))


def _known(stage: Reading, draw: _Drawer) -> Iterator[Chart]:
    is_rewarded = kind_of(stage) == "reinforcement"
    if not is_rewarded:
        # The objective of reinforcement has no unit and no meaning by itself: there the rewards are what to look at.
        yield from draw.chart("Loss", "nats per token", ["loss", "validation_loss", "held_out_loss"])
        yield from draw.chart("Accuracy", "share", ["accuracy", "token_accuracy", "held_out_accuracy"], is_share=True)
        yield from draw.chart("Margin", "chosen minus rejected", ["margin"])
    yield from draw.chart("Rewards", "mean score", _rewards(stage), is_share=True)
    parts = _beginning(stage, "reward/")
    yield from draw.chart("Reward of each part of the problems", "mean weighted sum", parts)
    votes = _beginning(stage, "cons@")[:1]
    yield from draw.chart("Right answers", "share, training problems", ["pass@1", *votes], is_share=True)
    yield from draw.chart("Response length", "tokens", ["response_length"])
    yield from draw.chart("Languages", "share", LANGUAGES, is_share=True)
    yield from draw.chart("Reflection", "reflective words per response", ["reflection_rate"])
    if is_rewarded:
        yield from draw.chart("Entropy", "nats per token", ["entropy"])
        if any(value != 0 for _, value in stage.curve("kl")):
            yield from draw.chart("Distance from the reference", "KL, nats per token", ["kl"])


def _unknown(stage: Reading, draw: _Drawer) -> Iterator[Chart]:
    """The first numbers of a stage that nobody here knows, each in a chart of its own."""
    names = dict.fromkeys(name for row in stage.steps for name in row if name != "step")
    drawn = (chart for name in names for chart in draw.chart(name, "", [name]))
    return (chart for chart, _ in zip(drawn, range(MOST_UNKNOWN), strict=False))


def _over_steps(pipeline: Pipeline, stages: Sequence[Reading]) -> Iterator[Chart]:
    for start, (title, unit, is_share) in OVER_STEPS.items():
        lines = []
        for stage in stages:
            names = (
                [name for name in _rewards(stage) if FORMAT in name] if start == FORMAT else _beginning(stage, start)
            )
            name = next((name for name in names if stage.curve(name)), None)
            if name and (points := stage.curve(name)):
                lines.append(Line(stage.name, points, pipeline.models[stage.name].colour))
        if lines:
            is_within = all(-0.01 <= y <= 1.01 for line in lines for _, y in line.points)
            yield Chart(title, "step", unit, lines, is_share and is_within)


def _rewards(stage: Reading) -> list[str]:
    names = [name for name in _beginning(stage, "rewards/") if name.count("/") == 1]
    return names or ["reward"]


def _beginning(stage: Reading, start: str) -> list[str]:
    return [name for name in dict.fromkeys(name for row in stage.steps for name in row) if name.startswith(start)]


def _label(name: str) -> str:
    return LABELS.get(name, name.removeprefix("rewards/").removeprefix("reward/"))


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    return iter(value.items()) if isinstance(value, Mapping) else iter(())
