"""Heat maps of how a mixture's experts share the work: over the steps of a stage, an expert a line and a layer a map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Final

from ponder_evaluation.axes import linear_axis
from ponder_evaluation.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from ponder_evaluation.markup import label, tag, text
from ponder_evaluation.readings import Reading, Row, is_number

MOST_LAYERS: Final = 6
MOST_LINES: Final = 64
MOST_COLUMNS: Final = 50
BANDS: Final = (
    ("l0", 0.0, "no token"),
    ("l1", 0.5, "under half of the mean"),
    ("l2", 0.8, "under 0.8"),
    ("l3", 1.25, "near the mean"),
    ("l4", 2.0, "over 1.25"),
    ("l5", 4.0, "over twice the mean"),
    ("l6", float("inf"), "over four times"),
)
"""Class, upper end and name of the loads that share a colour, as multiples of the mean."""


@dataclass(frozen=True, slots=True)
class HeatMap:
    """The loads of one layer's experts, as multiples of their mean."""

    title: str
    experts: int
    steps: tuple[float, float]
    """The first and the last."""
    columns: Sequence[Sequence[float]]
    """[lines] at each place of time, from the first step to the last."""


def heat_maps(stage: Reading) -> list[HeatMap]:
    """A map for each layer whose loads a stage has kept; of many layers, some that lie evenly, the first and the last among them."""
    layers: dict[int, dict[float, list[float]]] = {}
    for row in stage.expert_loads:
        if (loads := _relative(row)) is not None:
            layers.setdefault(int(row["layer"]), {})[float(row["step"])] = loads
    numbers = sorted(layers)
    if len(numbers) > MOST_LAYERS:
        numbers = [numbers[round(at * (len(numbers) - 1) / (MOST_LAYERS - 1))] for at in range(MOST_LAYERS)]
    return [_map(number, layers[number]) for number in numbers]


def heat_figures(stage: Reading) -> str:
    """The maps of a stage as figures of the page; empty when it has none."""
    maps = heat_maps(stage)
    if not maps:
        return ""
    named = "".join(
        tag(
            "li",
            f'<svg viewBox="0 0 12 12" aria-hidden="true"><path class="{class_}" d="M1 1h10v10h-10z"/></svg>{text(name)}',
        )
        for class_, _, name in BANDS
    )
    note = "Tokens given to each expert in a step, as a multiple of the mean over the layer's experts."
    figures = "".join(map(_figure, maps))
    return (
        tag("h4", "Load of the experts")
        + tag("p", note, class_="note")
        + tag("div", figures, class_="gallery")
        + tag("ul", named, class_="legend heat")
    )


def heat_content(heat: HeatMap) -> str:
    """What is in the map's SVG element: one path for each colour, so that a page stays small however many experts there are."""
    lines = len(heat.columns[0])
    height = (HEIGHT - TOP - BOTTOM) / lines
    edges = [LEFT + (WIDTH - RIGHT - LEFT) * place / len(heat.columns) for place in range(len(heat.columns) + 1)]
    paths: dict[str, list[str]] = {}
    for line in range(lines):
        bands = [_band(column[line]) for column in heat.columns]
        for class_, run in groupby(range(len(bands)), bands.__getitem__):
            places = list(run)
            left, right = edges[places[0]], edges[places[-1] + 1]
            y = TOP + line * height
            paths.setdefault(class_, []).append(f"M{left:.1f} {y:.1f}H{right:.1f}v{height:.2f}H{left:.1f}z")
    drawn = "".join(f'<path class="{class_}" d="{"".join(parts)}"/>' for class_, parts in sorted(paths.items()))
    return drawn + "".join(_labels(heat, lines))


def _labels(heat: HeatMap, lines: int) -> Iterator[str]:
    height = (HEIGHT - TOP - BOTTOM) / lines
    for line in range(0, lines, -(-lines // 8)):
        expert = round(line * heat.experts / lines)
        yield f'<text class="tick end" x="{LEFT - 7}" y="{TOP + (line + 0.5) * height + 4:.1f}">{expert}</text>'
    axis = linear_axis(heat.steps, LEFT, WIDTH - RIGHT)
    for value, written in axis.ticks:
        yield f'<text class="tick mid" x="{axis.at(value):.1f}" y="{HEIGHT - BOTTOM + 18}">{written}</text>'
    yield f'<text class="axis mid" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}">step</text>'


def _figure(heat: HeatMap) -> str:
    last = heat.columns[-1]
    at_the_end = f"at the end the fullest expert has {max(last):.2f} times the mean, the emptiest {min(last):.2f} times"
    drawing = tag(
        "svg",
        heat_content(heat),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"Load of the experts, {heat.title}: {at_the_end}",
    )
    caption = tag("b", label(heat.title)) + tag("small", text(f"{_lines(heat)} over steps; {at_the_end}"))
    return tag("figure", tag("figcaption", caption) + drawing)


def _lines(heat: HeatMap) -> str:
    return "experts" if len(heat.columns[0]) == heat.experts else "experts, of neighbours the fullest,"


def _map(number: int, by_step: Mapping[float, Sequence[float]]) -> HeatMap:
    steps = sorted(by_step)
    experts = min(len(by_step[step]) for step in steps)
    columns = [_fullest(by_step[step][:experts]) for step in steps]
    if len(steps) > MOST_COLUMNS:
        bounds = [round(at * len(steps) / MOST_COLUMNS) for at in range(MOST_COLUMNS + 1)]
        columns = [_mean_of(columns[start:stop]) for start, stop in pairwise(bounds)]
    return HeatMap(f"layer {number}", experts, (steps[0], steps[-1]), columns)


def _fullest(loads: Sequence[float]) -> list[float]:
    """The loads, or of many experts the fullest of each few neighbours: a mean would hide what the map is to show."""
    lines = min(MOST_LINES, len(loads))
    bounds = [round(at * len(loads) / lines) for at in range(lines + 1)]
    return [max(loads[start:stop]) for start, stop in pairwise(bounds)]


def _mean_of(columns: Sequence[Sequence[float]]) -> list[float]:
    return [sum(values) / len(values) for values in zip(*columns, strict=True)]


def _relative(row: Row) -> list[float] | None:
    """The loads of a row as multiples of their mean; None of a row that holds none."""
    loads = row.get("loads")
    if not (is_number(row.get("step")) and is_number(row.get("layer")) and isinstance(loads, list)):
        return None
    if not loads or not all(is_number(load) and load >= 0 for load in loads) or not sum(loads):
        return None
    return [load * len(loads) / sum(loads) for load in loads]


def _band(value: float) -> str:
    return next(class_ for class_, upper, _ in BANDS if value <= upper)
