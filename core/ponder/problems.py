"""Everything wrong with a recipe, collected with places, so that one run of `ponder validate` shows it all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ponder.errors import InputError
from ponder.suggestions import redacted

_SECRET_LENGTH = 4
"""Shorter values of environment variables are no secrets, and stand in words by chance."""


class RecipeError(InputError):
    """Everything wrong with a recipe; `problems` holds a line for each."""

    def __init__(self, subject: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        header = [] if len(problems) == 1 else [f"{subject}: {len(problems)} problems"]
        super().__init__("\n".join([*header, *problems]))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was written: a line of a file, a whole file (line 0), or an override (line -1)."""

    source: str
    line: int
    directory: Path
    """What relative paths written here are relative to."""

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line > 0 else self.source


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where, at which key, what, and what to do."""

    place: Place
    path: str
    text: str

    def __str__(self) -> str:
        # An override's place ends in its key path already.
        path = "" if self.place.source == f"override {self.path}" else self.path
        return ": ".join(part for part in (str(self.place), path, self.text) if part)


@dataclass(slots=True)
class Problems:
    """Collects problems; values that came from the environment are taken out of their texts."""

    found: list[Problem] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    """The variable's name by its value."""

    def add(self, place: Place, path: str, text: str) -> None:
        """Note a problem; of several at one key of one line, the first is shown."""
        self.found.append(Problem(place, path, text))

    def raise_any(self, subject: str) -> None:
        """Raise them all as one RecipeError, in the order of the files, a line each."""
        if self.found:
            raise RecipeError(subject, self._lines())

    def _lines(self) -> list[str]:
        sources = list(dict.fromkeys(problem.place.source for problem in self.found))
        shown: dict[tuple[Place, str], Problem] = {}
        for problem in self.found:
            shown.setdefault((problem.place, problem.path), problem)
        ordered = sorted(shown.values(), key=lambda problem: (sources.index(problem.place.source), problem.place.line))
        lines = [str(self._without_environment(problem)).splitlines() for problem in ordered]
        # What follows a problem's first line (the plugins that failed to load) is the same for many: it is said once, last.
        unique = dict.fromkeys([first for first, *_ in lines] + [note for _, *notes in lines for note in notes])
        return [redacted(line) for line in unique]

    def _without_environment(self, problem: Problem) -> Problem:
        text = problem.text
        for value, name in self.environment.items():
            text = text.replace(value, f"${{oc.env:{name}}}") if len(value) >= _SECRET_LENGTH else text
        return replace(problem, text=text)
