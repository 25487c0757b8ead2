"""Tests of generated programs, run in a jail and judged outside it, where the expected values stay."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ponder_rewards.jail import Ended, Jail

_PLAIN: dict[str, Callable[[Any], Any]] = {
    "list": lambda items: [decoded(item) for item in items],
    "tuple": lambda items: tuple(decoded(item) for item in items),
    "set": lambda items: {decoded(item) for item in items},
    "frozenset": lambda items: frozenset(decoded(item) for item in items),
    "dict": lambda items: {decoded(key): decoded(value) for key, value in items},
    "int": lambda text: int(text, 16),
    "float": float.fromhex,
    "bytes": bytes.fromhex,
    "str": str,
    "bool": bool,
    "None": lambda _: None,
}


Decision = Callable[[Sequence[Any]], Any]
"""What the encoded operands, as they came out of the jail, say; raises TypeError for one that could not be computed."""


class ProgramTest(Protocol):
    """One test of the program in a directory."""

    def run(self, jail: Jail, directory: Path) -> tuple[bool, bool]:
        """Whether the program passes, and whether it took too long."""
        ...


@dataclass(frozen=True, slots=True)
class OutputTest:
    """A program gets a standard input and is to print this; space at the ends of lines and of the text does not count."""

    given: str
    expected: str

    def run(self, jail: Jail, directory: Path) -> tuple[bool, bool]:
        """See `ProgramTest`."""
        ended = jail.script(directory, self.given)
        printed = ended.output.decode(errors="replace")
        return ended.is_success and _lines(printed) == _lines(self.expected), ended.is_timeout


@dataclass(frozen=True, slots=True)
class AssertTest:
    """Assertions whose operands are computed in the jail, save those that are constant, and compared here as plain data."""

    source: str
    """Of the module that computes the operands; constants that they are compared with are held back."""
    operands: int
    holds: Decision
    """Whether the encoded operands are as the assertions want them."""

    def run(self, jail: Jail, directory: Path) -> tuple[bool, bool]:
        """See `ProgramTest`."""
        (directory / "check.py").write_text(self.source, encoding="utf-8", errors="replace")
        ended = jail.check(directory)
        return self._passes(ended), ended.is_timeout

    def _passes(self, ended: Ended) -> bool:
        if not ended.is_success:
            return False
        try:
            values = json.loads(ended.output)
            return len(values) == self.operands and bool(self.holds(values))
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
            return False


def decoded(value: Any) -> Any:
    """A value as it came out of the jail; raises TypeError for one that could not be computed."""
    kind, content = value
    return _PLAIN[kind](content)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]
