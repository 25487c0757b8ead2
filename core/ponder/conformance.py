"""`ponder plugins check`: the suites of all components of a distribution, one after the other, and a report."""

from __future__ import annotations

import dataclasses
import textwrap
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from ponder.errors import InputError
from ponder.plugins import IncompatiblePluginError, Registry, error_line, normal_name
from ponder.suggestions import did_you_mean
from ponder.testing.running import CheckResult
from ponder.testing.watched import MOST_SECONDS, watched_checks


@dataclass(frozen=True, slots=True)
class Report:
    """Every check of a distribution."""

    distribution: str
    version: str
    results: Sequence[CheckResult]

    @property
    def is_sound(self) -> bool:
        """Whether no check failed."""
        return not any(result.status == "failed" for result in self.results)

    def counts(self) -> Counter[str]:
        """How many checks ended in which way."""
        return Counter(result.status for result in self.results)

    def summary(self) -> str:
        """The counts in a line."""
        counts = self.counts()
        parts = [f"{counts[status]} {status}" for status in ("passed", "failed", "not checked")]
        return f"{self.distribution} {self.version}: {', '.join(parts)}"

    def as_json(self) -> dict[str, Any]:
        """The report as plain data."""
        counts = self.counts()
        return {
            "distribution": self.distribution,
            "version": self.version,
            "passed": counts["passed"],
            "failed": counts["failed"],
            "not_checked": counts["not checked"],
            "checks": [dataclasses.asdict(result) for result in self.results],
        }


def check_distribution(
    registry: Registry, name: str, show: Callable[[str], None] | None = None, seconds: float = MOST_SECONDS
) -> Report:
    """Run all suites on what a distribution, one of its entry points, or a plain file offers; `show` is told line by line.

    A check that takes longer than `seconds` is ended and has failed.

    InputError when nothing of that name is installed.
    """
    offers = [offer for offer in registry.all() if normal_name(offer.distribution) == normal_name(name)]
    broken = {key: error for key, error in registry.broken.items() if normal_name(name) in _names_of(key)}
    if not offers and not broken:
        raise InputError(_nothing_called(registry, name))
    results: list[CheckResult] = []
    loads = (_not_loaded(key, error) for key, error in broken.items())
    for result in chain(loads, watched_checks(registry, offers, seconds)):
        results.append(result)
        if show is not None:
            show(_line(result))
    version = offers[0].version if offers else ""
    return Report(offers[0].distribution if offers else next(iter(broken)), version, results)


def _not_loaded(key: str, error: BaseException) -> CheckResult:
    return CheckResult("plugin", key, "it loads", "failed", _told(error))


def _told(error: BaseException) -> str:
    if isinstance(error, IncompatiblePluginError):
        return str(error)
    return f"{error_line(error)}\n{''.join(traceback.format_exception(error)[-3:]).rstrip()}"


def _line(result: CheckResult) -> str:
    line = f"{result.status:11}  {result.kind} {result.name}: {result.check}"
    return f"{line}\n{textwrap.indent(result.reason, ' ' * 15)}" if result.reason else line


def _nothing_called(registry: Registry, name: str) -> str:
    known = {offer.distribution for offer in registry.all()} | set(registry.broken)
    return f"no plugin {name!r} is installed; {did_you_mean(name, known)}"


def _names_of(key: str) -> set[str]:
    """What a broken plugin may be called: `distribution:entry point` and its parts, or a file's path and name."""
    return {normal_name(part) for part in (key, *key.split(":"), key.rpartition("/")[2])}
