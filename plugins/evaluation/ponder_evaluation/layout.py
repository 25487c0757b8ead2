"""Where the stages of a pipeline are drawn: in layers from left to right, or one below the other with lanes beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Final, TypeVar

from ponder_evaluation.pipeline import Link, LinkKind

SWEEPS: Final = 12

Column = TypeVar("Column")


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of a layered drawing."""

    width: float
    height: float
    """Of a box."""
    column: float
    """From one layer's left edge to the next one's."""
    gap: float
    """Between boxes of a layer."""
    bend: float
    """The room that a passing link takes."""


@dataclass(frozen=True, slots=True)
class Route:
    """A link's places from its source to its target: a place for each layer it touches, the middle of the box or of the gap."""

    link: Link
    places: Sequence[tuple[int, float]]
    """(layer, y)."""


@dataclass(frozen=True, slots=True)
class Layers:
    """A drawing in layers: the layer and the middle of each box, the links' routes, and the height of it all."""

    boxes: Mapping[str, tuple[int, float]]
    routes: Sequence[Route]
    depth: int
    height: float


def layers_of(names: Sequence[str], links: Sequence[Link], later: Sequence[tuple[str, str]] = ()) -> dict[str, int]:
    """Each name's layer: behind everything it was made from, and what was made from nothing just before its first use.

    Pairs of `later` are (earlier, later) names that no link is drawn between.
    """
    before: dict[str, list[str]] = {name: [] for name in names}
    after: dict[str, list[str]] = {name: [] for name in names}
    for link in links:
        before[link.target].append(link.source)
        after[link.source].append(link.target)
    for source, target in later:
        before[target].append(source)
    layers: dict[str, int] = {}
    for name in names:  # in the order in which they were made, so what a stage came from is placed before it
        layers[name] = 1 + max((layers.get(source, -1) for source in before[name]), default=-1)
    for name in names:
        if not before[name] and after[name]:
            layers[name] = min(layers[target] for target in after[name]) - 1
    return layers


def layered(names: Sequence[str], links: Sequence[Link], sizes: Sizes, later: Sequence[tuple[str, str]] = ()) -> Layers:
    """Boxes in layers with few crossings, links led through the gaps between them."""
    layers = layers_of(names, links, later)
    chains = [_chain(number, link, layers) for number, link in enumerate(links)]
    columns: list[list[str]] = [[] for _ in range(max(layers.values(), default=-1) + 1)]
    for name in names:
        columns[layers[name]].append(name)
    for link, chain in zip(links, chains, strict=True):
        for step, bend in enumerate(chain[1:-1], start=1):
            columns[layers[link.source] + step].append(bend)
    neighbours = _neighbours(chains)
    _sort(columns, neighbours)
    heights = {item: sizes.height if item in layers else sizes.bend for column in columns for item in column}
    middles = _settle(columns, neighbours, heights, sizes.gap)
    top = min((middles[item] - heights[item] / 2 for item in middles), default=0.0)
    middles = {item: middle - top for item, middle in middles.items()}
    routes = [
        Route(link, [(layers[link.source] + step, middles[item]) for step, item in enumerate(chain)])
        for link, chain in zip(links, chains, strict=True)
    ]
    height = max((middles[item] + heights[item] / 2 for item in middles), default=0.0)
    return Layers({name: (layers[name], middles[name]) for name in names}, routes, len(columns), height)


def lanes(links: Sequence[Link], rows: Mapping[str, int]) -> dict[tuple[str, LinkKind], int]:
    """For a drawing in rows: the lane in which the links of each kind leave a source, counted from the boxes.

    Links from one source and of one kind share a lane; lanes that overlap lie side by side, short ones nearer to the boxes.
    """
    spans: dict[tuple[str, LinkKind], int] = {}
    for link in links:
        key = (link.source, link.kind)
        spans[key] = max(spans.get(key, 0), rows[link.target])
    taken: list[list[tuple[int, int]]] = []
    chosen = {}
    for key in sorted(spans, key=lambda key: (spans[key] - rows[key[0]], rows[key[0]], key[1])):
        span = (rows[key[0]], spans[key])
        free = (lane for lane, spans_there in enumerate(taken) if all(_are_apart(span, other) for other in spans_there))
        lane = next(free, len(taken))
        if lane == len(taken):
            taken.append([])
        taken[lane].append(span)
        chosen[key] = lane
    return chosen


def _are_apart(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[1] < other[0] or other[1] < one[0]


def _chain(number: int, link: Link, layers: Mapping[str, int]) -> list[str]:
    """The link's ends with a bend between them for every layer that it passes; no stage can be named as a bend is."""
    passed = range(layers[link.source] + 1, layers[link.target])
    return [link.source, *(f"\0{number}\0{layer}" for layer in passed), link.target]


def _neighbours(chains: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for chain in chains:
        for one, other in pairwise(chain):
            found.setdefault(one, []).append(other)
            found.setdefault(other, []).append(one)
    return found


def _sort(columns: Sequence[list[str]], neighbours: Mapping[str, Sequence[str]]) -> None:
    """Order each layer by the mean place of its neighbours, going to and fro."""
    for column in _to_and_fro(columns):
        places = {item: place / max(1, len(other) - 1) for other in columns for place, item in enumerate(other)}
        column.sort(key=lambda item: fmean([places[other] for other in neighbours.get(item, [])] or [places[item]]))


def _settle(
    columns: Sequence[Sequence[str]], neighbours: Mapping[str, Sequence[str]], heights: Mapping[str, float], gap: float
) -> dict[str, float]:
    """The middle of every item: as near to its neighbours' as the order and the gaps allow."""
    middles: dict[str, float] = {}
    for column in columns:
        middles.update(_spread(column, dict.fromkeys(column, 0.0), heights, gap))
    for column in _to_and_fro(columns):
        wished = {
            item: fmean([middles[other] for other in neighbours.get(item, [])] or [middles[item]]) for item in column
        }
        middles.update(_spread(column, wished, heights, gap))
    return middles


def _spread(
    column: Sequence[str], wished: Mapping[str, float], heights: Mapping[str, float], gap: float
) -> dict[str, float]:
    """Items in order without overlap; those that want the same room share the displacement."""
    groups: list[tuple[list[str], float]] = []
    for item in column:
        items, middle = [item], wished[item]
        while (
            groups
            and middle - _extent(items, heights, gap) / 2
            < groups[-1][1] + _extent(groups[-1][0], heights, gap) / 2 + gap
        ):
            others, other = groups.pop()
            middle = (other * len(others) + middle * len(items)) / (len(others) + len(items))
            items = [*others, *items]
        groups.append((items, middle))
    return {name: middle for group in groups for name, middle in _within(*group, heights, gap)}


def _within(
    items: Sequence[str], middle: float, heights: Mapping[str, float], gap: float
) -> Iterator[tuple[str, float]]:
    top = middle - _extent(items, heights, gap) / 2
    for item in items:
        yield item, top + heights[item] / 2
        top += heights[item] + gap


def _extent(items: Sequence[str], heights: Mapping[str, float], gap: float) -> float:
    return sum(heights[item] for item in items) + gap * (len(items) - 1)


def _to_and_fro(columns: Sequence[Column]) -> Iterator[Column]:
    for sweep in range(SWEEPS):
        yield from columns if sweep % 2 == 0 else reversed(columns)
