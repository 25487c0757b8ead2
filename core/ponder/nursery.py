"""The trainer's side of the nursery, the clean process that holds the rewards and forks the workers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ponder.errors import InputError, StageError
from ponder.nursery_main import receive_frame, send_frame

_PATIENCE_SECONDS = 300.0
_PASSED_ON = (
    *("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "HF_HOME", "XDG_CACHE_HOME"),
    *("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"),
)


class Nursery:
    """The process that holds the rewards and forks the workers: starts it, asks it for workers, ends it."""

    def __init__(self, packed: bytes, names: Sequence[str]) -> None:
        self._control, theirs = socket.socketpair()
        program = f"from ponder.nursery_main import main; main({theirs.fileno()})"
        with theirs, tempfile.TemporaryFile() as complaints:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", program],
                env=_environment(),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                start_new_session=True,
            )
            self._finalizer = weakref.finalize(self, _end, self._control, self._process, os.getpid())
            theirs.close()
            self._await_start(packed, names, complaints)

    def fork(self, slot: int) -> tuple[socket.socket, int, int | None]:
        """A new worker's socket and process id, and how the one before it in this slot had ended."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [b"%d" % slot], [theirs.fileno()])
                answer = receive_frame(self._control)
            except OSError:
                answer = None
        if answer is None:
            ours.close()
            raise StageError(
                "the process that holds the rewards is gone; if the system ended it to free memory, use fewer workers "
                "or rewards that import less"
            )
        process, ended = json.loads(answer)
        return ours, process, ended

    def close(self) -> None:
        """End the nursery and with it the workers."""
        self._finalizer()

    def _await_start(self, packed: bytes, names: Sequence[str], complaints: Any) -> None:
        self._control.settimeout(_PATIENCE_SECONDS)
        try:
            send_frame(self._control, packed)
            problem = receive_frame(self._control)
        except OSError as error:
            problem = str(error).encode()
        if problem != b"":
            self.close()
            complaints.seek(0)
            report = (problem or complaints.read()).decode(errors="replace").strip()
            raise InputError(
                f"the rewards ({', '.join(names)}) could not be built in a worker process: "
                f"what their modules need must be importable there. It said:\n{report}"
            )


def _end(control: socket.socket, process: subprocess.Popen[bytes], owner: int) -> None:
    control.close()
    if os.getpid() != owner:
        return
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _environment() -> dict[str, str]:
    """What workers know of the environment: where programs and modules are, and no secrets.

    The hash seed is fixed, because the order of sets decides some verdicts of symbolic algebra.
    """
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    path = os.pathsep.join(str(Path(entry or ".").resolve()) for entry in sys.path)
    return {**kept, "PYTHONPATH": path, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
