"""The pipeline drawn: stages as boxes that lead to their sections, weights as solid lines, data as broken ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from ponder_evaluation.charts import COLOURS
from ponder_evaluation.layout import Layers, Route, Sizes, lanes, layered
from ponder_evaluation.markup import anchor, label, number, percent, tag
from ponder_evaluation.pipeline import Kind, Link, LinkKind, Pipeline, kind_of
from ponder_evaluation.readings import Reading

SIZES: Final = Sizes(width=134, height=60, column=164, gap=16, bend=8)
ROW, LANE = 54, 10
NARROW: Final = 360
LONGEST_NAME: Final = 16

KINDS: Final[dict[Kind, str]] = {
    "pretraining": "pre-training",
    "supervised": "supervised fine-tuning",
    "reinforcement": "reinforcement learning",
    "data": "data",
    "reward": "reward model",
    "other": "other",
}
LINKS: Final = {"weights": "weights from", "data": "data from", "reward": "rewards from"}


def pipeline_graph(pipeline: Pipeline) -> str:
    """The graph, once from left to right for wide screens and once from top to bottom for narrow ones, with its key."""
    if not pipeline.makers:
        return ""
    return (
        tag("div", _wide(pipeline), class_="scroll graph wide")
        + tag("div", _tall(pipeline), class_="graph tall")
        + _key(pipeline)
    )


def key_result(pipeline: Pipeline, stage: Reading) -> str:
    """The number that says most about what a stage made, in a few words; empty when there is none."""
    model = pipeline.models.get(stage.name)
    if model and model.evaluations:
        return f"{percent(model.evaluations[0].metrics['pass@1'])} pass@1"
    metrics = stage.metrics
    for name, written in (("accuracy", "accuracy"), ("reward", "reward"), ("loss", "loss")):
        if name in metrics:
            value = percent(metrics[name]) if name == "accuracy" else f"{metrics[name]:.3g}"
            return f"{value} {written}" if name == "accuracy" else f"{written} {value}"
    if stage.funnel:
        return f"{number(stage.funnel[-1]['kept'])} kept"
    rows = metrics.get("rows", metrics.get("kept"))
    return f"{number(rows)} rows" if rows is not None else ""


def _wide(pipeline: Pipeline) -> str:
    names = [stage.name for stage in pipeline.makers]
    drawing = layered(names, pipeline.links, SIZES, pipeline.budgets)
    boxes = "".join(
        _box(pipeline, stage, drawing.boxes[stage.name][0] * SIZES.column + 1, drawing.boxes[stage.name][1] + 1)
        for stage in pipeline.makers
    )
    width = (drawing.depth - 1) * SIZES.column + SIZES.width + 2
    routes = "".join(_arrow(route.link, _led(route, drawing)) for route in drawing.routes)
    size = {
        "viewBox": f"0 0 {width:.0f} {drawing.height + 2:.0f}",
        "style": f"min-width:{0.7 * width:.0f}px;max-width:{1.15 * width:.0f}px",
    }
    return tag("svg", routes + boxes, **size, role="img", aria_label=_description(pipeline))


def _led(route: Route, drawing: Layers) -> str:
    """A path from the right of one box to the left of another, level where it passes a layer."""
    ends = [(layer * SIZES.column + 1, y + 1) for layer, y in route.places]
    x, y = ends[0][0] + SIZES.width, ends[0][1] + _port(route, drawing.routes, is_target=False)
    path = f"M{x:.1f} {y:.1f}"
    for place, (left, middle) in enumerate(ends[1:], start=1):
        is_last = place == len(ends) - 1
        level = middle + (_port(route, drawing.routes, is_target=True) if is_last else 0.0)
        stop = left - 5 if is_last else left
        path += f"C{(x + stop) / 2:.1f} {y:.1f} {(x + stop) / 2:.1f} {level:.1f} {stop:.1f} {level:.1f}"
        x, y = stop, level
        if not is_last:
            x += SIZES.width
            path += f"H{x:.1f}"
    return path


def _port(route: Route, routes: Sequence[Route], *, is_target: bool) -> float:
    """How far from the middle of a box a link touches it, so that several do not meet in one point."""
    end, towards = (-1, -2) if is_target else (0, 1)
    name = route.link.target if is_target else route.link.source
    there = [other for other in routes if (other.link.target if is_target else other.link.source) == name]
    there.sort(key=lambda other: (other.places[towards][1], other.link.kind))
    spacing = min(11.0, (SIZES.height - 18) / max(1, len(there) - 1))
    return (there.index(route) - (len(there) - 1) / 2) * spacing if len(route.places) + end else 0.0


def _box(pipeline: Pipeline, stage: Reading, left: float, middle: float, width: float = SIZES.width) -> str:
    kind, top = kind_of(stage), middle - SIZES.height / 2
    model = pipeline.models.get(stage.name)
    dot = (
        f'<circle class="m{model.colour % COLOURS}" cx="{left + width - 13:.1f}" cy="{top + 31:.1f}" r="4.5"/>'
        if model
        else ""
    )
    lines = (
        ("name", label(stage.name, LONGEST_NAME)),
        ("type", label(stage.type, 22)),
        ("result", key_result(pipeline, stage)),
    )
    written = "".join(
        f'<text class="{class_}" x="{left + 12:.1f}" y="{top + 19 + 16 * place:.1f}">{content}</text>'
        for place, (class_, content) in enumerate(lines)
    )
    frame = f'<rect x="{left:.1f}" y="{top:.1f}" width="{width}" height="{SIZES.height}" rx="8"/>'
    stripe = f'<path class="stripe" d="M{left + 4:.1f} {top + 9:.1f}v{SIZES.height - 18}"/>'
    title = f"<title>{label(stage.name, 200)}: {KINDS[kind]}</title>"
    return tag("a", title + frame + stripe + dot + written, href=f"#{anchor(stage.name)}", class_=f"box k-{kind}")


def _arrow(link: Link, path: str) -> str:
    return (
        f'<path class="link {link.kind}" d="{path}" marker-end="url(#head)">'
        f"<title>{label(link.target, 200)}: {LINKS[link.kind]} {label(link.source, 200)}</title></path>"
    )


def _tall(pipeline: Pipeline) -> str:
    """Stages in their order, one below the other; every source's links run down a lane of their own on the left."""
    stages = pipeline.makers
    rows = {stage.name: row for row, stage in enumerate(stages)}
    chosen = lanes(pipeline.links, rows)
    left = LANE * (max(chosen.values(), default=-1) + 1) + 12
    boxes = "".join(_row(pipeline, stage, left, row * ROW + ROW / 2) for row, stage in enumerate(stages))
    paths = "".join(_arrow(link, path) for link, path in _lane_paths(pipeline.links, rows, chosen, left))
    height = ROW * len(stages) + 2
    size = {"viewBox": f"0 0 {NARROW} {height}"}
    return tag("svg", paths + boxes, **size, role="img", aria_label=_description(pipeline))


def _lane_paths(
    links: Sequence[Link], rows: Mapping[str, int], chosen: Mapping[tuple[str, LinkKind], int], left: float
) -> Iterator[tuple[Link, str]]:
    shift = {"weights": 5, "data": 10, "reward": 14}
    for link in links:
        x = left - 12 - LANE * chosen[link.source, link.kind]
        start = rows[link.source] * ROW + ROW / 2 + shift[link.kind]
        stop = rows[link.target] * ROW + ROW / 2 - shift[link.kind]
        corner = min(6.0, left - x - 1)
        yield (
            link,
            (
                f"M{left:.1f} {start:.1f}H{x + corner:.1f}q{-corner:.1f} 0 {-corner:.1f} {corner:.1f}"
                f"V{stop - corner:.1f}q0 {corner:.1f} {corner:.1f} {corner:.1f}H{left - 4:.1f}"
            ),
        )


def _row(pipeline: Pipeline, stage: Reading, left: float, middle: float) -> str:
    kind, height, width = kind_of(stage), ROW - 10, NARROW - left - 1
    model = pipeline.models.get(stage.name)
    dot = (
        f'<circle class="m{model.colour % COLOURS}" cx="{NARROW - 14}" cy="{middle - 8:.1f}" r="4.5"/>' if model else ""
    )
    frame = f'<rect x="{left:.1f}" y="{middle - height / 2:.1f}" width="{width:.1f}" height="{height}" rx="8"/>'
    stripe = f'<path class="stripe" d="M{left + 4:.1f} {middle - 14:.1f}v28"/>'
    written = (
        f'<text class="name" x="{left + 12:.1f}" y="{middle - 4:.1f}">{label(stage.name, 24)}</text>'
        f'<text class="type" x="{left + 12:.1f}" y="{middle + 13:.1f}">{label(stage.type, 20)}</text>'
        f'<text class="result end" x="{NARROW - 10}" y="{middle + 13:.1f}">{key_result(pipeline, stage)}</text>'
    )
    title = f"<title>{label(stage.name, 200)}: {KINDS[kind]}</title>"
    return tag("a", title + frame + stripe + dot + written, href=f"#{anchor(stage.name)}", class_=f"box k-{kind}")


def _key(pipeline: Pipeline) -> str:
    used = dict.fromkeys(kind_of(stage) for stage in pipeline.makers)
    kinds = "".join(tag("li", tag("i", "", class_=f"k-{kind}") + KINDS[kind]) for kind in KINDS if kind in used)
    drawn = dict.fromkeys(link.kind for link in pipeline.links)
    line = '<svg viewBox="0 0 30 8" aria-hidden="true"><path class="link {0}" d="M1 4H29"/></svg>'
    links = "".join(tag("li", line.format(kind) + words) for kind, words in LINKS.items() if kind in drawn)
    return tag("ul", kinds + links, class_="legend key")


def _description(pipeline: Pipeline) -> str:
    told = (f"{link.target}: {LINKS[link.kind]} {link.source}" for link in pipeline.links)
    return f"The pipeline. {'; '.join(told)}."[:2000]
