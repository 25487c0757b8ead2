"""Checkpoints of a loop: committed by one rename, found by verification, removed only when a newer one stands."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ponder.durable import damage, read_json, rename_durably, seal, write_json
from ponder.metrics import LogPosition

KEEP = 2
"""The newest one, and one to walk back to when it turns out damaged."""

_POSITION = "position.json"
_STATE = "state"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a loop goes on from: `step` steps are done, and the stage's logs were this long."""

    step: int
    state: Path
    logs: tuple[LogPosition, ...]


class Checkpoints:
    """The committed checkpoints in a directory, `step-00000012` after twelve steps."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def exist(self) -> bool:
        """Whether any checkpoint, whole or not, has been committed."""
        return bool(self._committed())

    def commit(self, step: int, save: Callable[[Path], None], logs: Sequence[LogPosition]) -> None:
        """Make a checkpoint of what `save` writes; once this returns it is durable, and only the newest two are left."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._discard_unfinished()
        temporary = self._directory / f"tmp-{step}-{os.getpid()}"
        try:
            self._fill(temporary, step, save, logs)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)  # a half-written one would only take the space that is short
            raise
        rename_durably(temporary, self._directory / f"step-{step:08d}")
        for old in self._committed()[:-KEEP]:
            _remove(old)

    def newest(self, is_usable: Callable[[Checkpoint], bool], say: Callable[[str], None]) -> Checkpoint | None:
        """The newest checkpoint that is whole and usable; damaged ones on the way are named and removed."""
        for directory in reversed(self._committed()):
            problem = damage(directory)
            checkpoint = _read(directory) if problem is None else None
            if checkpoint is not None and is_usable(checkpoint):
                return checkpoint
            problem = problem or "the logs beside it are not those it was made with"
            say(f"checkpoint {directory.name} is damaged ({problem}): going back to the one before it")
            _remove(directory)
        return None

    def _fill(self, directory: Path, step: int, save: Callable[[Path], None], logs: Sequence[LogPosition]) -> None:
        state = directory / _STATE
        state.mkdir(parents=True)
        save(state)
        positions = [{"length": log.length, "sha256": log.sha256} for log in logs]
        write_json(directory / _POSITION, {"step": step, "logs": positions})
        seal(directory)

    def _committed(self) -> list[Path]:
        return sorted(self._directory.glob("step-*"))

    def _discard_unfinished(self) -> None:
        for leftover in self._directory.glob("tmp-*"):
            shutil.rmtree(leftover)


def _read(directory: Path) -> Checkpoint:
    position = read_json(directory / _POSITION)
    logs = tuple(LogPosition(log["length"], log["sha256"]) for log in position["logs"])
    return Checkpoint(position["step"], directory / _STATE, logs)


def _remove(directory: Path) -> None:
    """Remove a checkpoint so that a kill halfway leaves nothing that counts as one."""
    doomed = directory.with_name(f"tmp-removed-{directory.name}")
    directory.replace(doomed)
    shutil.rmtree(doomed)
