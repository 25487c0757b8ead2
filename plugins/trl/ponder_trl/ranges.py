"""Checks that the options of several stages share."""

from __future__ import annotations

import math


def at_least(config: object, least: int, *names: str) -> None:
    """Raise ValueError for an option below `least`."""
    for name in names:
        if not getattr(config, name) >= least:
            raise ValueError(f"{name} must be at least {least}, not {getattr(config, name)}")


def above_zero(config: object, *names: str) -> None:
    """Raise ValueError for an option that is not a positive number."""
    for name in names:
        if not 0 < getattr(config, name) < math.inf:
            raise ValueError(f"{name} must be greater than 0, not {getattr(config, name)}")


def share(config: object, *names: str) -> None:
    """Raise ValueError for an option that is not between 0 and 1."""
    for name in names:
        if not 0 <= getattr(config, name) <= 1:
            raise ValueError(f"{name} must lie between 0 and 1, not {getattr(config, name)}")
