"""Charts as one SVG file that needs no page around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Final

from ponder_evaluation.charts import HEIGHT, LEFT, MARKERS, WIDTH, Chart, classes, content, marker
from ponder_evaluation.markup import label, tag

COLUMNS: Final = 2
HEAD: Final = 26
LEGEND_ROW: Final = 16
CHARACTER: Final = 6.2
GAP: Final = 30


def standalone(charts: Sequence[Chart]) -> str:
    """The charts side by side, with their titles and legends, as the text of an SVG file."""
    columns = min(COLUMNS, len(charts))
    legends = [list(_legend(chart)) for chart in charts]
    rows = max((legend[-1][1] + 1 for legend in legends if legend), default=0)
    height = HEAD + HEIGHT + LEGEND_ROW * rows + GAP
    cells = "".join(
        f'<g transform="translate({(WIDTH + GAP) * (place % columns) + GAP / 2} {height * (place // columns) + GAP / 2})">'
        f"{_cell(chart, legend)}</g>"
        for place, (chart, legend) in enumerate(zip(charts, legends, strict=True))
    )
    width, depth = (WIDTH + GAP) * columns, height * -(-len(charts) // columns)
    style = files("ponder_evaluation").joinpath("charts.css").read_text(encoding="utf-8")
    ground = f'<rect width="{width}" height="{depth}" style="fill:var(--card)"/>'
    return tag(
        "svg",
        f"<style>{style}</style>{ground}{cells}",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {depth}",
        width=str(width),
        height=str(depth),
    )


def _cell(chart: Chart, legend: Sequence[tuple[float, int, str]]) -> str:
    title = f'<text x="8" y="12" style="font-size:13px;font-weight:600">{label(chart.title)}</text>'
    unit = f'<text class="end tick" x="{WIDTH - 14}" y="12">{label(chart.y)}</text>'
    named = "".join(
        f'<g transform="translate({x:.0f} {HEAD + HEIGHT + LEGEND_ROW * row + 14})">{item}</g>'
        for x, row, item in legend
    )
    return f'{title}{unit}<g transform="translate(0 {HEAD})">{content(chart)}</g>{named}'


def _legend(chart: Chart) -> Iterator[tuple[float, int, str]]:
    """(x, row, markup) of each line's name, in as many rows as it takes."""
    x, row = float(LEFT), 0
    for place, line in enumerate(line for line in chart.lines if line.points):
        name = label(line.name, 30)
        width = 22 + CHARACTER * len(name)
        if x + width > WIDTH and x > LEFT:
            x, row = float(LEFT), row + 1
        class_ = classes(line, place)
        yield (
            x,
            row,
            f'<g class="{class_}"><g class="dot">{marker(int(class_[1:]) % MARKERS, 4, -4)}</g></g><text class="tick" x="12">{name}</text>',
        )
        x += width
