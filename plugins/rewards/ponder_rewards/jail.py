"""Interpreters that run one program each, which cannot harm: the parent's side of `jail_main`."""

from __future__ import annotations

import os
import secrets
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ponder import confinement
from ponder.confinement import Tier
from ponder_rewards import jail_main

_ENVIRONMENT = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"}
_OF_TIME = (-signal.SIGPROF, -signal.SIGXCPU, -signal.SIGKILL)
_FOR_CHECKS = 1 << 20


@dataclass(frozen=True, slots=True)
class Jail:
    """What a program may use."""

    tier: Tier
    """A program is not run when less than this is reached."""
    cpu_seconds: float
    wall_seconds: float
    memory_mb: int
    output_kb: int

    def script(self, directory: Path, given: str) -> Ended:
        """Run `program.py` of the directory with this standard input."""
        return self._run("script", directory, given.encode(errors="replace"), self.output_kb * 1024)

    def check(self, directory: Path) -> Ended:
        """Run `check.py` of the directory with the names of its `program.py`; the output is what it computed, as JSON.

        Without the nonce that was sent in, what came out is not from the check: the output is empty then.
        """
        nonce = secrets.token_hex(16).encode() + b"\n"
        ended = self._run("check", directory, nonce, _FOR_CHECKS)
        is_genuine = ended.is_success and ended.output.startswith(nonce)
        return Ended(ended.output[len(nonce) :], True, False) if is_genuine else Ended(b"", False, ended.is_timeout)

    def _run(self, task: Literal["script", "check"], directory: Path, given: bytes, most: int) -> Ended:
        command = _command(task, self.tier, self.cpu_seconds, self.memory_mb)
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=_ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            output = _exchange(process, given, most, time.monotonic() + self.wall_seconds)
        finally:
            code = _end(process)
        if output is None:
            return Ended(b"", False, True)
        return Ended(output, code == 0 and len(output) <= most, code in _OF_TIME and len(output) <= most)


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a program."""

    output: bytes
    is_success: bool
    """It ended by itself, with exit code 0, and did not say too much."""
    is_timeout: bool


def reached_tier() -> Tier:
    """How far programs can be confined here, found out by starting an interpreter that does nothing else."""
    command = _command("probe", Tier.NONE, 5, 256)
    ended = subprocess.run(command, env=_ENVIRONMENT, check=False, capture_output=True, timeout=60)
    code = ended.returncode - jail_main.PROBED
    return Tier(code) if code in set(Tier) else Tier.NONE


def _command(task: str, tier: Tier, cpu_seconds: float, memory_mb: int) -> list[str]:
    interpreter = os.path.realpath(sys.executable)
    flags = [interpreter, "-S", "-P", "-s", "-B", str(Path(jail_main.__file__).resolve())]
    limits = [str(int(tier)), str(cpu_seconds), str(memory_mb)]
    return [*flags, str(Path(confinement.__file__).resolve()), *limits, task, str(os.getpid())]


def _exchange(process: subprocess.Popen[bytes], given: bytes, most: int, deadline: float) -> bytes | None:
    """Write what is given and read until the program closes its output or has said too much; None when it takes too long."""
    assert process.stdin
    assert process.stdout
    output = bytearray()
    os.set_blocking(process.stdin.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        while len(output) <= most:
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            for key, _ in ready:
                if key.fileobj is process.stdin:
                    given = _write(process.stdin.fileno(), given)
                    if not given:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                    continue
                arrived = os.read(process.stdout.fileno(), 1 << 16)
                if not arrived:
                    return bytes(output) if _ends(process, deadline) else None
                output += arrived
    return bytes(output)


def _write(descriptor: int, given: bytes) -> bytes:
    """Write some; what is left. A program need not read what it is given."""
    try:
        return given[os.write(descriptor, given[: 1 << 16]) :]
    except BrokenPipeError:
        return b""


def _ends(process: subprocess.Popen[bytes], deadline: float) -> bool:
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(process: subprocess.Popen[bytes]) -> int:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()
    return process.wait()
