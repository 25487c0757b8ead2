"""Checks that the options of several stages share."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from ponder.foreign_options import passthrough_faults


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


def passed_on(config: Any, **known: Any) -> None:
    """Raise ValueError for values in the section `trl` that TRL has no use for; `known` are types that its annotations do not tell."""
    # Most recipes pass nothing on, and reading TRL's source takes a moment.
    if not config.trl:
        return
    target = next(field for field in dataclasses.fields(config) if field.name == "trl").metadata["passthrough"]
    faults = passthrough_faults(target, config.trl, known)
    if faults:
        raise ValueError("; ".join(f"trl.{key} {fault}" for key, fault in faults.items()))
