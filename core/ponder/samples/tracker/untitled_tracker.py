"""The tracker `untitled`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ponder import Component, Tracker, hookimpl


@dataclass(frozen=True, kw_only=True)
class UntitledConfig:
    """Writes what happens in a run to a JSON Lines file beside the runs."""

    file: str = "untitled.jsonl"
    """The file's name."""

    def __post_init__(self) -> None:
        if not self.file or "/" in self.file:
            raise ValueError(f"file must be the name of a file, without a folder, not {self.file!r}")


class Untitled:
    """A line for each event, with the names of the runs that are open, outermost first."""

    def __init__(self, config: UntitledConfig, runs: Path) -> None:
        self._path = runs / config.file
        self._open: list[str] = []

    def start(self, name: str, params: Mapping[str, object]) -> None:
        """Open a run, nested in the one that is open."""
        self._open.append(name)
        self._write("start", params=params)

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write numbers of the innermost run."""
        self._write("log", step=step, metrics=metrics)

    def artifact(self, path: Path) -> None:
        """Write where a file of the innermost run is."""
        self._write("artifact", path=path)

    def finish(self, status: str) -> None:
        """Close the innermost run."""
        self._write("finish", status=status)
        if self._open:
            self._open.pop()

    def _write(self, event: str, **what: object) -> None:
        # ASCII, so that no name can contain what the file's encoding does not.
        line = json.dumps({"event": event, "runs": self._open, **what}, default=str)
        with self._path.open("a", encoding="ascii") as file:
            file.write(line + "\n")


@hookimpl
def ponder_trackers() -> Iterator[Component[Tracker]]:
    """The tracker of this plugin."""
    yield Component("untitled", UntitledConfig, Untitled)
