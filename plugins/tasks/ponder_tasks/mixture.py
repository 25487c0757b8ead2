"""Several tasks as one, in a ratio."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count

from ponder import Example, Task
from ponder.errors import InputError
from ponder.randomness import permutation
from ponder.scopes import TASK_KEY
from ponder_tasks.data_tools import MixtureConfig


class Mixture:
    """The task; parts take turns, so that any beginning is mixed as the whole is."""

    def __init__(self, config: MixtureConfig, task: Callable[[str], Task]) -> None:
        self._config = config
        self._task = task

    def examples(self) -> Iterator[Example]:
        """The examples of all parts, each with its part's name as `task` in its metadata.

        Raises:
            InputError: a part is empty or cannot be read, or the parts have too few examples for ratio and size.
        """
        parts = {name: _part(name, self._task) for name in self._config.parts}
        counts = _counts(self._config, {name: len(part) for name, part in parts.items()})
        taken = {name: _reshuffled(part, self._config.seed, name) for name, part in parts.items()}
        return (_labelled(next(taken[name]), name) for name in _turns(counts))


def _part(name: str, task: Callable[[str], Task]) -> Sequence[Example]:
    try:
        part = list(task(name).examples())
    except InputError as error:
        raise InputError(f"part {name!r} of a mixture: {error}") from error
    if not part:
        raise InputError(f"part {name!r} of a mixture has no examples; take it out of `parts`, or mend it")
    return part


def _counts(config: MixtureConfig, have: Mapping[str, int]) -> dict[str, int]:
    """How many examples of each part are taken."""
    shares = _shares(config)
    if config.size is not None:
        counts = _apportioned(config.size, shares)
        _check_counts(config, counts, have)
        return counts
    rounds = [have[name] // share for name, share in shares.items()]
    fitting = max(1, *rounds) if config.repeat else min(rounds)
    if not fitting:
        raise InputError(
            f"{_described(shares, have)} do not fill one round of the ratio; give it smaller numbers, add examples, or set repeat"
        )
    return {name: fitting * share for name, share in shares.items()}


def _shares(config: MixtureConfig) -> dict[str, int]:
    ratio = config.ratio or [1] * len(config.parts)
    common = math.gcd(*ratio)
    return {name: share // common for name, share in zip(config.parts, ratio, strict=True)}


def _apportioned(size: int, shares: Mapping[str, int]) -> dict[str, int]:
    """Whole numbers in the ratio that add up to `size`: what is left over goes to the largest remainders."""
    total = sum(shares.values())
    counts = {name: size * share // total for name, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: -(size * shares[name] % total))
    for name in by_remainder[: size - sum(counts.values())]:
        counts[name] += 1
    return counts


def _check_counts(config: MixtureConfig, counts: Mapping[str, int], have: Mapping[str, int]) -> None:
    shares = _shares(config)
    absent = [name for name, wanted in counts.items() if not wanted]
    if absent:
        raise InputError(f"{_described(shares, have)}: a size of {config.size} leaves none of {absent[0]!r}; raise it")
    short = [name for name, wanted in counts.items() if wanted > have[name]]
    if short and not config.repeat:
        raise InputError(
            f"{_described(shares, have)}: a size of {config.size:,} takes {counts[short[0]]:,} of {short[0]!r} and would repeat "
            "some; lower it, or set repeat"
        )


def _described(shares: Mapping[str, int], have: Mapping[str, int]) -> str:
    ratio = ":".join(str(share) for share in shares.values())
    sizes = ", ".join(f"{name} has {size:,}" for name, size in have.items())
    return f"the examples of a {ratio} mixture ({sizes})"


def _turns(counts: Mapping[str, int]) -> Iterator[str]:
    """The parts' names, each as often as it counts, spread evenly; of two whose turn it is the earlier goes first."""

    def places(index: int, name: str, wanted: int) -> Iterator[tuple[float, int, str]]:
        return (((turn + 0.5) / wanted, index, name) for turn in range(wanted))

    spread = [places(index, name, wanted) for index, (name, wanted) in enumerate(counts.items())]
    return (name for _, _, name in heapq.merge(*spread))


def _reshuffled(part: Sequence[Example], seed: int, name: str) -> Iterator[Example]:
    for epoch in count():
        for place in permutation(len(part), seed, "mixture", name, epoch):
            yield part[place]


def _labelled(example: Example, name: str) -> Example:
    return replace(example, metadata={**example.metadata, TASK_KEY: name})
