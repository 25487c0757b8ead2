"""What a stage does on the disk, counted, and ended at a chosen moment as a kill would end it."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from unittest import mock

_CHANGES: Final = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.symlink"}
_ELSEWHERE: Final = ("/dev/", "/proc/", "/sys/")


class Killed(BaseException):
    """The process is as good as dead: nothing after this reaches the disk."""


class Disk:
    """Watches the disk below `root`. Once the change number `fatal` is due, it and every later one raise Killed."""

    def __init__(self, root: Path, fatal: int = 0) -> None:
        self.root = root
        self.effects = 0
        self.counts = False
        """Whether changes are counted now."""
        self.outside: list[Path] = []
        self._fatal = fatal
        self._is_dead = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch while this is open, with a checkpoint after every step, and without waiting for the disk."""
        _install()
        with (
            mock.patch("os.fsync", self._fsync),
            mock.patch("os.pwrite", self._pwrite),
            mock.patch("ponder.steps.SECONDS_BETWEEN_CHECKPOINTS", 0.0),
        ):
            _watching.append(self)
            try:
                yield
            finally:
                _watching.remove(self)

    def told(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit event of this process."""
        if not self.counts or threading.current_thread() is not threading.main_thread():
            return
        if event == "open":
            path, _, flags = arguments
            if (
                isinstance(path, str | os.PathLike | bytes)
                and isinstance(flags, int)
                and flags & (os.O_WRONLY | os.O_RDWR)
            ):
                self._opened(str(Path(os.fsdecode(path)).absolute()))
        elif event in _CHANGES:
            self._change()

    def _opened(self, path: str) -> None:
        if path.startswith(f"{self.root}{os.sep}"):
            self._change()
        elif not path.startswith((*_ELSEWHERE, *_scratch())) and "__pycache__" not in path:
            self.outside.append(Path(path))

    def _change(self) -> None:
        self.effects += 1
        if self._fatal and self.effects >= self._fatal:
            self._is_dead = True
        if self._is_dead:
            raise Killed(f"killed at change {self.effects}")

    def _fsync(self, descriptor: int) -> None:
        if self.counts:
            self._change()

    def _pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        if self.counts and self._fatal and self.effects + 1 == self._fatal:
            # The last write is torn in the middle.
            _real_pwrite(descriptor, data[: len(data) // 2], offset)
        if self.counts:
            self._change()
        return _real_pwrite(descriptor, data, offset)


def _scratch() -> tuple[str, ...]:
    """Where libraries may keep what they need for themselves."""
    return (tempfile.gettempdir(), str(Path.home() / ".cache"), *_hugging_face())


def _hugging_face() -> list[str]:
    return [os.environ[name] for name in ("HF_HOME", "XDG_CACHE_HOME", "TORCH_HOME") if os.environ.get(name)]


_real_pwrite = os.pwrite
_watching: list[Disk] = []
_installed: list[bool] = []


def _install() -> None:
    """Audit hooks cannot be taken out again: there is one, for all."""
    if not _installed:
        _installed.append(True)
        sys.addaudithook(_hook)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    for disk in _watching:
        disk.told(event, arguments)
