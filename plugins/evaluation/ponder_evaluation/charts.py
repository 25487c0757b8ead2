"""Line charts: inline SVG whose colours follow the page's light and dark themes, and PNG files for elsewhere."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ponder_evaluation.readings import Points

# Drawn in these and then replaced by the page's own variables, so that one picture suits both themes.
INK: Final = "#010203"
SERIES: Final = ("#1f66c9", "#c2570a", "#187a4b", "#7a49bd", "#a8326e", "#5c6b1e")
GRID_OPACITY: Final = 0.15
INCHES: Final = (4.2, 2.9)
MARGINS: Final = (0.72, 0.15, 0.85, 0.35)
"""Left, right, bottom, top; inches."""

_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ponder",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": INK,
    "grid.alpha": GRID_OPACITY,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


@dataclass(frozen=True, slots=True)
class Line:
    """A named series; `labels`, when there are any, name its points."""

    name: str
    points: Points
    labels: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """A small chart of a few lines over one pair of axes."""

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    is_share: bool = False
    """Whether the values are shares, drawn from 0 to 1."""


def svg(chart: Chart) -> str:
    """The chart as an SVG element that scales to its box, described for those who cannot see it."""
    with _settings(chart.title):
        figure = Figure(figsize=INCHES)
        figure.subplots_adjust(**_margins(1, 1))
        _draw(figure.add_subplot(), chart)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _themed(buffer.getvalue(), _description(chart))


def png(charts: Sequence[Chart], path: Path, columns: int = 2) -> None:
    """The charts side by side on white, as a PNG file."""
    columns = min(columns, len(charts))
    rows = -(-len(charts) // columns)
    with _settings("png"):
        figure = Figure(figsize=(INCHES[0] * columns, INCHES[1] * rows), facecolor="white")
        figure.subplots_adjust(**_margins(rows, columns))
        for place, chart in enumerate(charts, start=1):
            _draw(figure.add_subplot(rows, columns, place), chart)
        figure.savefig(path, format="png", dpi=130, metadata={"Software": None})


@contextmanager
def _settings(salt: str) -> Iterator[None]:
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _margins(rows: int, columns: int) -> dict[str, float]:
    """Fixed room for labels around each chart: matplotlib's own search for it takes ten times as long as the drawing."""
    left, right, bottom, top = MARGINS
    width, height = INCHES[0] * columns, INCHES[1] * rows
    return {
        "left": left / width,
        "right": 1 - right / width,
        "bottom": bottom / height,
        "top": 1 - top / height,
        "wspace": (left + right) / (INCHES[0] - left - right),
        "hspace": (bottom + top) / (INCHES[1] - bottom - top),
    }


def _draw(axes: Axes, chart: Chart) -> None:
    for line, colour in zip(chart.lines, SERIES * (1 + len(chart.lines) // len(SERIES)), strict=False):
        _draw_line(axes, line, colour)
    axes.set_title(chart.title, loc="left", fontsize=10.5, fontweight="bold")
    axes.set_xlabel(chart.x)
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    axes.set_ylabel(chart.y)
    values = [y for line in chart.lines for _, y in line.points]
    if chart.is_share or not any(values):
        axes.set_ylim(-0.03, 1.03)
    elif min(values) >= 0:
        axes.set_ylim(bottom=0.0)
    if len(chart.lines) > 1:
        axes.legend(fontsize=8.5, loc="upper center", bbox_to_anchor=(0.46, -0.2), ncols=3, columnspacing=1.2)


def _draw_line(axes: Axes, line: Line, colour: str) -> None:
    steps, values = [x for x, _ in line.points], [y for _, y in line.points]
    if line.labels:
        axes.plot(steps, values, color=colour, linewidth=1.2, marker="o", markersize=5, label=line.name)
        for (x, y), label in zip(line.points, line.labels, strict=True):
            axes.annotate(label, (x, y), textcoords="offset points", xytext=(5, 4), fontsize=8.5, color=colour)
        return
    smooth = smoothed(values)
    if smooth != values:
        axes.plot(steps, values, color=colour, linewidth=0.7, alpha=0.35)
    axes.plot(steps, smooth, color=colour, linewidth=1.7, label=line.name, marker="o" if len(steps) == 1 else None)


def smoothed(values: list[float]) -> list[float]:
    """A centred moving mean over about a twentieth of the series; a short series stays as it is."""
    reach = len(values) // 40
    windows = [values[max(0, at - reach) : at + reach + 1] for at in range(len(values))]
    return [sum(window) / len(window) for window in windows] if reach else values


def _themed(text: str, description: str) -> str:
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    head, rest = text.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    for number, colour in enumerate(SERIES, start=1):
        rest = rest.replace(colour, f"var(--series-{number})")
    return (
        f'<svg {box.group() if box else ""} role="img" aria-label="{description}" xmlns="http://www.w3.org/2000/svg" '
        f'xmlns:xlink="http://www.w3.org/1999/xlink">{rest.replace(INK, "currentColor")}'
    )


def _description(chart: Chart) -> str:
    ends = [
        f"{line.name} from {line.points[0][1]:.3g} to {line.points[-1][1]:.3g}" for line in chart.lines if line.points
    ]
    plain = f"{chart.title}: {'; '.join(ends)}".replace("&", "and")
    return re.sub(r'[<>"]', "", plain)
