"""The records of an examination: what is looked for, and what was found."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from ponder.doctor.patient import Patient

Severity: TypeAlias = Literal["fine", "not yet", "warning", "problem"]
"""`problem`: training would be silently wrong. `warning`: it may be. `not yet`: it needs what a stage has still to make."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    severity: Severity
    text: str
    """What was found, and what it means."""
    advice: str = ""
    """What to change; empty when there is nothing to do."""


@dataclass(frozen=True, slots=True)
class Check:
    """One question about a stage, answered without training it."""

    name: str
    """Short, for tables: `full_marks`."""
    question: str
    """What is asked, as a sentence."""
    concerns: Callable[[Patient], Hashable | None]
    """What of the stage the answer depends on, or None where the question makes no sense; stages with equal answers to this
    are examined once."""
    examine: Callable[[Patient], Iterable[Finding]]
    """Looks, and yields what it finds: nothing when all is well. May raise InputError, which is a problem found, and
    `NotYetError`."""


class NotYetError(Exception):
    """What a check asks for is still to be made by a stage of the recipe."""
