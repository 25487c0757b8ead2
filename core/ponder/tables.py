"""Rows of a stage's steps for people and reports to read: JSON Lines files in which every row has a step."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ponder.journal import Journal


class Table:
    """A file that is written whole from a journal, so that an interrupted stage neither loses nor repeats a row."""

    def __init__(self, path: Path, journal: Journal) -> None:
        self.path = path
        self._journal = journal

    def add(self, step: int, rows: Sequence[Mapping[str, object]]) -> None:
        """Put the rows of a step into the file."""
        key = f"{self.path.stem}-{step:08d}"
        if self._journal.get(key) is None:
            self._journal.append(key, [{"step": step, **row} for row in rows])
        self.write()

    def write(self) -> None:
        """Write the file anew."""
        journalled = sorted(self._journal.keys())
        rows = [
            row for key in journalled if key.startswith(f"{self.path.stem}-") for row in self._journal.get(key) or ()
        ]
        self.path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


class ExpertLoads:
    """`expert_loads.jsonl`: how many tokens each expert was given in some steps of a stage, a row for each layer.

    Beyond `MOST_STEPS` steps, evenly many are left out between two that are kept.
    """

    MOST_STEPS = 100

    def __init__(self, directory: Path, journal: Journal, steps: int) -> None:
        self._table = Table(directory / "expert_loads.jsonl", journal)
        self._every = -(-steps // self.MOST_STEPS)

    def add(self, step: int, loads: Sequence[Sequence[int]]) -> None:
        """Keep the loads [layers][experts] of a step, if it is one of those that are kept; there may be no layers."""
        if loads and step % self._every == 0:
            self._table.add(step, [{"layer": layer, "loads": list(counts)} for layer, counts in enumerate(loads)])
