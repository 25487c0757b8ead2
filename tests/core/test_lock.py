from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ponder.errors import BusyError
from ponder.lock import DirectoryLock

InAChild = Callable[[Callable[[], int]], int]


def is_free(directory: Path) -> int:
    try:
        DirectoryLock(directory).release()
    except BusyError:
        return 0
    return 1


def test_a_second_process_is_told_who_holds_the_directory_where_and_since_when(
    tmp_path: Path, in_a_child: InAChild
) -> None:
    def second() -> int:
        with pytest.raises(BusyError) as caught:
            DirectoryLock(tmp_path)
        pattern = (
            rf"in use by process {os.getppid()} on {re.escape(socket.gethostname())} since \d{{4}}-\d\d-\d\d \d\d:"
        )
        return caught.value.exit_code if re.search(pattern, str(caught.value)) else 0

    with DirectoryLock(tmp_path):
        assert in_a_child(second) == 75


def test_a_released_directory_can_be_taken(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path / "new"):
        pass

    assert is_free(tmp_path / "new")


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path, in_a_child: InAChild) -> None:
    def die() -> int:
        lock = DirectoryLock(tmp_path)
        os.kill(os.getpid(), signal.SIGKILL)
        return id(lock)

    assert in_a_child(die) == -signal.SIGKILL
    assert is_free(tmp_path)


def test_a_forked_worker_that_outlives_its_killed_parent_does_not_hold_the_lock(
    tmp_path: Path, in_a_child: InAChild
) -> None:
    def die_with_a_worker() -> int:
        lock = DirectoryLock(tmp_path)
        worker = os.fork()
        if worker == 0:
            time.sleep(60)
            os._exit(0)
        (tmp_path / "worker").write_text(str(worker))
        os.kill(os.getpid(), signal.SIGKILL)
        return id(lock)

    in_a_child(die_with_a_worker)
    try:
        assert is_free(tmp_path)
    finally:
        os.kill(int((tmp_path / "worker").read_text()), signal.SIGKILL)


def test_a_holder_that_left_no_name_is_another_process(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path):
        (tmp_path / ".lock").write_text("")
        with pytest.raises(BusyError, match="in use by another process"):
            DirectoryLock(tmp_path)


def test_of_many_processes_that_start_at_once_one_gets_the_directory(tmp_path: Path) -> None:
    told, tells = os.pipe()
    released, release = os.pipe()
    children = []
    for _ in range(8):
        child = os.fork()
        if child == 0:
            os.close(release)
            _try_once(tmp_path, tells, released)
        children.append(child)
    os.close(tells)
    outcomes = b"".join(os.read(told, 1) for _ in children)
    # Only now may the one that has the directory give it up.
    os.close(release)
    for child in children:
        os.waitpid(child, 0)

    assert outcomes.count(b"+") == 1


def _try_once(directory: Path, tells: int, released: int) -> None:
    """Say whether this process got the lock, and keep it until nobody holds the other end of `released`."""
    try:
        DirectoryLock(directory)
        os.write(tells, b"+")
        os.read(released, 1)
    except BusyError:
        os.write(tells, b"-")
    finally:
        os._exit(0)


def test_a_directory_removed_while_another_waits_is_made_anew(tmp_path: Path) -> None:
    directory = tmp_path / "work"
    lock = DirectoryLock(directory)
    directory.rename(tmp_path / "removed")

    assert is_free(directory)
    lock.release()
