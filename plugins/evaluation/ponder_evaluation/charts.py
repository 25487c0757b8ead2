"""Line charts as SVG: inside the page in its own colours, and as files that stand alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, Literal

from ponder_evaluation.axes import Axis, linear_axis, log_axis
from ponder_evaluation.markup import cut, label, tag, text
from ponder_evaluation.readings import Points

WIDTH: Final = 440
HEIGHT: Final = 250
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 14, 40
MOST_POINTS: Final = 160
MARKERS: Final = 4
COLOURS: Final = 14
STAGGERED: Final = 4


@dataclass(frozen=True, slots=True)
class Line:
    """A named series."""

    name: str
    points: Points
    colour: int | None = None
    """A model's place among the models; None takes the line's place in its chart, in colours of its own."""
    labels: Sequence[str] = ()
    """The points' names, when they have any: of `scattered` points told on demand, else written at both ends."""
    intervals: Sequence[tuple[float, float]] = ()
    """Low and high of each point, drawn as whiskers."""
    style: Literal["curve", "dots", "scattered"] = "curve"
    """`curve` is smoothed when it is long; `dots` marks every measured point; `scattered` leaves them unconnected."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A small chart of a few lines over one pair of axes."""

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    is_share: bool = False
    """Whether the values are shares, drawn from 0 to 1."""
    marks: Sequence[tuple[float, str]] = ()
    """Places on the x axis where something changed, with what."""
    scale: Literal["linear", "log"] = "linear"
    """How x is drawn."""
    names: Sequence[str] = ()
    """What x counts, when it counts names: 0 is the first."""


def figure(chart: Chart) -> str:
    """The chart as a figure of the page, its title above and the names of its lines below."""
    return tag(
        "figure",
        tag("figcaption", tag("b", text(chart.title)) + tag("small", text(chart.y))) + svg(chart) + _legend(chart),
    )


def svg(chart: Chart) -> str:
    """The chart as an SVG element that scales to its box, described for those who cannot see it."""
    return tag("svg", content(chart), viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=_description(chart))


def classes(line: Line, place: int) -> str:
    """The classes that give a line its colour and its marker."""
    return f"s{place % 6}" if line.colour is None else f"m{line.colour % COLOURS}"


def smoothed(values: Sequence[float]) -> list[float]:
    """A centred moving mean over about a tenth of the series; a short series stays as it is."""
    reach = len(values) // 20
    windows = [values[max(0, at - reach) : at + reach + 1] for at in range(len(values))]
    return [sum(window) / len(window) for window in windows] if reach else list(values)


def thinned(points: Points, most: int = MOST_POINTS) -> Points:
    """At most so many points: the means of equal stretches, so that no page grows with the length of a run."""
    if len(points) <= most:
        return points
    bounds = [round(place * len(points) / most) for place in range(most + 1)]
    parts = [points[start:stop] for start, stop in pairwise(bounds)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]


def content(chart: Chart) -> str:
    """What is in the chart's SVG element."""
    chart = replace(chart, lines=[line for line in chart.lines if line.points])
    across, up = _axes(chart)
    drawn = (markup for place, line in enumerate(chart.lines) for markup in _line(line, place, across, up))
    return "".join([*_grid(chart, across, up), *_marks(chart, across), *drawn])


def _axes(chart: Chart) -> tuple[Axis, Axis]:
    xs = [x for line in chart.lines for x, _ in line.points]
    ys = [y for line in chart.lines for _, y in line.points]
    ys += [end for line in chart.lines for interval in line.intervals for end in interval]
    if chart.names:
        names = [(float(place), label(name, 18)) for place, name in enumerate(chart.names)]
        across = Axis(-0.5, len(names) - 0.5, LEFT, WIDTH - RIGHT, is_log=False, ticks=names)
        return across, _upwards(chart, ys)
    make = log_axis if chart.scale == "log" and min(xs, default=1.0) > 0 else linear_axis
    across = make(xs, LEFT + 6, WIDTH - RIGHT)
    return across, _upwards(chart, ys)


def _upwards(chart: Chart, ys: Sequence[float]) -> Axis:
    if chart.is_share:
        return linear_axis([0.0, 1.0], HEIGHT - BOTTOM, TOP)
    return linear_axis([0.0, *ys] if min(ys, default=0.0) >= 0 else ys, HEIGHT - BOTTOM, TOP)


def _grid(chart: Chart, across: Axis, up: Axis) -> Iterator[str]:
    for value, written in up.ticks:
        y = f"{up.at(value):.1f}"
        yield f'<path class="grid" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>'
        yield f'<text class="tick end" x="{LEFT - 7}" y="{up.at(value) + 4:.1f}">{written}</text>'
    for place, (value, written) in enumerate(across.ticks):
        # Names in two rows, so that long ones do not touch.
        row = 13 * (place % 2) if len(chart.names) > STAGGERED else 0
        yield f'<text class="tick mid" x="{across.at(value):.1f}" y="{HEIGHT - BOTTOM + 18 + row}">{written}</text>'
    if chart.names:
        return
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield f'<text class="axis mid" x="{middle}" y="{HEIGHT - 4}">{label(chart.x)}</text>'


def _marks(chart: Chart, across: Axis) -> Iterator[str]:
    for place, (value, written) in enumerate(chart.marks):
        x = across.at(value)
        is_right = x > WIDTH * 0.6
        yield f'<path class="mark" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
        yield (
            f'<text class="tick{" end" if is_right else ""}" x="{x + (-4 if is_right else 4):.1f}" '
            f'y="{TOP + 8 + 12 * (place % 4)}">{label(written)}</text>'
        )


def _line(line: Line, place: int, across: Axis, up: Axis) -> Iterator[str]:
    yield f'<g class="{classes(line, place)}">'
    if line.style == "curve" and not line.labels and len(line.points) > 1:
        yield from _curve(line.points, across, up)
    else:
        yield from _dots(line, place, across, up)
    yield "</g>"


def _curve(points: Points, across: Axis, up: Axis) -> Iterator[str]:
    smooth = list(zip([x for x, _ in points], smoothed([y for _, y in points]), strict=True))
    if [y for _, y in smooth] != [y for _, y in points]:
        yield f'<path class="thin" d="{_path(thinned(points), across, up)}"/>'
    yield f'<path class="thick" d="{_path(thinned(smooth), across, up)}"/>'


def _dots(line: Line, place: int, across: Axis, up: Axis) -> Iterator[str]:
    if len(line.points) > 1 and line.style != "scattered":
        yield f'<path class="mid" d="{_path(line.points, across, up)}"/>'
    for (x, _), (low, high) in zip(line.points, line.intervals, strict=False):
        yield f'<path class="whisker" d="M{across.at(x):.1f} {up.at(low):.1f}V{up.at(high):.1f}"/>'
    shape = (place if line.colour is None else line.colour) % MARKERS
    names: Sequence[str] = line.labels or [""] * len(line.points)
    ends = () if line.style == "scattered" else (0, len(names) - 1)
    for at, ((x, y), name) in enumerate(zip(line.points, names, strict=True)):
        left, top = across.at(x), up.at(y)
        told = label(f"{line.name}, {name or f'{x:.4g}'}: {y:.3g}")
        yield f'<g class="dot"><title>{told}</title>{marker(shape, left, top)}</g>'
        if name and at in ends:
            # Between its ends a line has no room for names; there the pointer tells them.
            is_right = left > WIDTH - 40
            place_of_text = f'x="{left + (-7 if is_right else 7):.1f}" y="{top - 6:.1f}"'
            yield f'<text class="name{" end" if is_right else ""}" {place_of_text}>{label(name)}</text>'


def marker(shape: int, x: float, y: float, size: float = 3.6) -> str:
    """A small mark around a point: circle, square, diamond or triangle."""
    if shape == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}"/>'
    corners = {
        1: [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        2: [(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)],
        3: [(0.0, -1.2), (1.1, 0.85), (-1.1, 0.85)],
    }[shape]
    return f'<path d="M{"L".join(f"{x + size * right:.1f} {y + size * down:.1f}" for right, down in corners)}Z"/>'


def _path(points: Points, across: Axis, up: Axis) -> str:
    return "M" + "L".join(f"{across.at(x):.1f} {up.at(y):.1f}" for x, y in points)


def _legend(chart: Chart) -> str:
    lines = [line for line in chart.lines if line.points]
    if len(lines) < 2:
        return ""
    items = "".join(legend_item(line.name, classes(line, place)) for place, line in enumerate(lines))
    return tag("ul", items, class_="legend")


def legend_item(name: str, class_: str) -> str:
    """A name of a legend with its colour."""
    shape = int(class_[1:]) % MARKERS
    return tag(
        "li", f'<svg viewBox="0 0 12 12" aria-hidden="true">{marker(shape, 6, 6)}</svg>{text(name)}', class_=class_
    )


def _description(chart: Chart) -> str:
    ends = [
        f"{line.name} from {line.points[0][1]:.3g} to {line.points[-1][1]:.3g}"
        for line in chart.lines
        if line.points and math.isfinite(line.points[0][1])
    ]
    return cut(f"{chart.title}: {'; '.join(ends)}", 400)
