"""Learning rates as functions of the step alone: a resumed run needs no state of them."""

from __future__ import annotations

import math
from collections.abc import Callable


def cosine(peak: float, final_ratio: float, warmup: int, steps: int) -> Callable[[int], float]:
    """From `peak` along half a cosine to `final_ratio` x `peak` in the last of `steps` steps, after a linear warm-up from 0."""

    def rate(step: int) -> float:
        if step < warmup:
            return peak * (step + 1) / warmup
        way = min(1.0, (step - warmup) / max(1, steps - 1 - warmup))
        return peak * (final_ratio + (1 - final_ratio) * 0.5 * (1 + math.cos(math.pi * way)))

    return rate


def constant(peak: float, warmup: int) -> Callable[[int], float]:
    """`peak`, after a linear warm-up from 0."""
    return lambda step: peak * min(1.0, (step + 1) / max(1, warmup))
