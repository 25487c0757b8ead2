"""Axes of charts: which values are written along them, and where a value lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MOST_TICKS: Final = 6
THOUSANDS: Final = 2000


@dataclass(frozen=True, slots=True)
class Axis:
    """From values to places, linear or in powers, with the values to be written beside it."""

    low: float
    high: float
    start: float
    """Where `low` lies in the drawing."""
    end: float
    is_log: bool
    ticks: Sequence[tuple[float, str]]

    def at(self, value: float) -> float:
        """Where a value lies; what is beyond the ends lies at the end."""
        low, high, given = (math.log(max(x, 1e-12)) if self.is_log else x for x in (self.low, self.high, value))
        share = (given - low) / (high - low)
        return self.start + (self.end - self.start) * min(1.0, max(0.0, share))


def linear_axis(values: Sequence[float], start: float, end: float) -> Axis:
    """An axis from one round number to another that holds all values."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if low == high:
        low, high = (low - 0.5, high + 0.5) if low else (0.0, 1.0)
    step = _round_step((high - low) / (MOST_TICKS - 1))
    is_upright = start > end
    if not is_upright and all(float(value).is_integer() for value in values):
        step = max(1.0, step)
    # Up the page an axis ends at round numbers; along it, where the data do.
    bottom, top = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [place * step for place in range(bottom, top + 1) if is_upright or low <= place * step <= high]
    if is_upright:
        low, high = bottom * step, top * step
    return Axis(low, high, start, end, is_log=False, ticks=[(tick, _written(tick, step)) for tick in ticks])


def log_axis(values: Sequence[float], start: float, end: float) -> Axis:
    """An axis whose every step is a doubling, or several; all values are above 0."""
    low, high = min(values, default=1.0), max(values, default=2.0)
    if low == high:
        low, high = low / 2, high * 2
    first, last = math.ceil(math.log2(low) - 1e-9), math.floor(math.log2(high) + 1e-9)
    every = max(1, math.ceil((last - first + 1) / (MOST_TICKS + 1)))
    ticks = [2.0**power for power in range(first, last + 1, every)]
    return Axis(low, high, start, end, is_log=True, ticks=[(tick, f"{tick:,.4g}") for tick in ticks])


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is not below."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= least * (1 - 1e-9))


def _written(value: float, step: float) -> str:
    """The value with as many decimals as its step has; large steps in thousands."""
    if step >= THOUSANDS:
        return "0" if not value else _written(value / 1000, step / 1000) + "k"
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if abs(step * 10**decimals - round(step * 10**decimals)) > 1e-6:
        decimals += 1
    return f"{value:,.{decimals}f}".replace("-", "\N{MINUS SIGN}") if value else "0"
