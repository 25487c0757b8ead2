"""Runs a server for as long as its parent lives: `python server_keeper.py COMMAND...`, with a pipe from the parent as input.

The parent may be killed at any moment, and a server has processes of its own: so this one, small and on the standard library
alone, starts the server in a process group and ends the whole group when the pipe closes, which the kernel does for a dead parent.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence

GRACE_SECONDS = 10.0
"""How long a server may take to end when it is asked to."""


def keep(command: Sequence[str]) -> int:
    """Run `command` until it ends or standard input does; returns its exit status."""
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        while server.poll() is None:
            # Nothing is ever written to the pipe: that it can be read means that it is closed.
            if select.select([0], [], [], 0.1)[0]:
                break
    finally:
        _end(server)
    return server.returncode


def _end(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        _signal(server.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(GRACE_SECONDS)
    # What it started may have stayed.
    _signal(server.pid, signal.SIGKILL)
    server.wait()


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


if __name__ == "__main__":
    # A terminal's Ctrl-C is for the run alone; a request to end this process is one to end the server.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(min(abs(keep(sys.argv[1:])), 255))
