"""A run killed at any write, rename, removal or fsync continues by the same command, with the same bytes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RECIPE = """
name: toy
tracker: {type: toy}
policies:
  base: {type: toy, value: 2.0}
stages:
  first: {type: count, policy: base, steps: 2}
  second: {type: collect, policy: first, answers: 2}
"""

InAChild = Callable[[Callable[[], int]], int]

AUDITED = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.symlink"}


class KillSwitch:
    """Kills this process just before its `fatal`-th effect on the disk; a fatal write is torn in the middle."""

    def __init__(self, fatal: int, root: Path) -> None:
        self.count = 0
        self._fatal = fatal
        self._root = str(root)
        self._pwrite = os.pwrite

    def arm(self) -> None:
        # Killing a process loses nothing of what it has written, so that no real fsync is needed here.
        os.fsync = lambda descriptor: self._tick()  # type: ignore[assignment]
        os.pwrite = self._torn  # type: ignore[assignment]
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        for_writing = event == "open" and str(arguments[0]).startswith(self._root) and isinstance(arguments[2], int)
        if event in AUDITED or (for_writing and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            self._tick()

    def _tick(self) -> None:
        self.count += 1
        if self.count == self._fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def _torn(self, descriptor: int, data: bytes, offset: int) -> int:
        if self.count + 1 == self._fatal:
            self._pwrite(descriptor, data[: len(data) // 2], offset)
        self._tick()
        return self._pwrite(descriptor, data, offset)


def run_with_switch(laboratory: Any, fatal: int, in_a_child: InAChild) -> int:
    """The number of effects of a whole run, or minus SIGKILL."""

    def action() -> int:
        switch = KillSwitch(fatal, laboratory.directory)
        switch.arm()
        laboratory.run()
        return switch.count

    return in_a_child(action)


@pytest.mark.slow
def test_a_run_killed_at_any_effect_on_the_disk_continues_with_the_same_bytes(
    laboratory: Any, tmp_path_factory: Any, in_a_child: InAChild
) -> None:
    laboratory.recipe_text = RECIPE
    effects = run_with_switch(laboratory, 0, in_a_child)
    expected = laboratory.outputs()
    assert effects > 100

    for fatal in range(1, effects + 1):
        trial = type(laboratory)(tmp_path_factory.mktemp("trial"), laboratory.plugin, RECIPE)
        assert run_with_switch(trial, fatal, in_a_child) == -signal.SIGKILL
        assert run_with_switch(trial, 0, in_a_child) >= 0
        assert trial.outputs() == expected, f"killed at effect {fatal}"
        assert sorted(path.name for path in (trial.runs / ".store").iterdir()) == sorted(
            path.name for path in (laboratory.runs / ".store").iterdir()
        )
