"""One process at a time in a directory: an flock that dies with its holder, and says who that is."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from weakref import WeakSet

from ponder.durable import to_json
from ponder.errors import BusyError

LOCK_FILE = ".lock"


class DirectoryLock:
    """Holds a directory, which is made when missing, until `release` or the death of this process.

    Raises BusyError naming the holder's process id and host, at once.
    """

    def __init__(self, directory: Path) -> None:
        self._file = _locked_file(directory)
        while not _is_in_place(self._file, directory / LOCK_FILE):
            # The directory was removed, with its lock file, between opening and locking: take the new one.
            os.close(self._file)
            self._file = _locked_file(directory)
        self._sign()
        _held.add(self)

    def release(self) -> None:
        """Let others in."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> DirectoryLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _sign(self) -> None:
        started = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        text = to_json({"pid": os.getpid(), "host": socket.gethostname(), "since": started})
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, text.encode(), 0)


_held: WeakSet[DirectoryLock] = WeakSet()


def _release_in_child() -> None:
    """A forked worker shares its parent's flock, and would hold it on after the parent was killed."""
    for lock in list(_held):
        with suppress(OSError):
            lock.release()


os.register_at_fork(after_in_child=_release_in_child)


def _locked_file(directory: Path) -> int:
    directory.mkdir(parents=True, exist_ok=True)
    file = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(file, 4096, 0).decode("utf-8", "replace")
        os.close(file)
        raise BusyError(_explain(directory, holder)) from None
    return file


def _is_in_place(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _explain(directory: Path, holder: str) -> str:
    try:
        signed = json.loads(holder)
        who = f"process {signed['pid']} on {signed['host']} since {signed['since']}"
    except (ValueError, KeyError, TypeError):
        who = "another process"
    return f"{directory} is in use by {who}: wait until it is done, stop it, or write elsewhere with --runs DIR"
