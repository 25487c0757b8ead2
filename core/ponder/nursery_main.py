"""The processes in which per-sample rewards run: a nursery that holds the rewards, and the workers it forks.

The nursery is a fresh interpreter. It imports what the rewards need once, so that a worker which had to be killed is
replaced within milliseconds, and never scores anything itself. It ends, and its workers with it, when its parent does.
"""

from __future__ import annotations

import copy
import gc
import json
import math
import numbers
import os
import resource
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from ponder.confinement import Confinement, die_with, interpreter_paths
from ponder.crossing import unpack
from ponder.types import Completion, Example

Status: TypeAlias = Literal["ok", "abstained", "timeout", "error"]

_HEADER = struct.Struct("!Q")
_PARENT_POLL_SECONDS = 1.0
_TRACEBACK_CHARACTERS = 4000


@dataclass(frozen=True, slots=True)
class Limits:
    """What one reward may use on one sample, and how many processes score."""

    workers: int | None = None
    """Worker processes; None for one per available core, at most 8."""
    cpu_seconds: float = 1.0
    """Processor time for one sample; independent of how busy the machine is."""
    wall_seconds: float = 20.0
    """Time for one sample on the clock, after which a worker that sleeps is killed. One that waits for a core is not."""
    memory_mb: int = 512
    """Memory a worker may take in addition to what it starts with; one that keeps half of it is replaced."""
    give_up_after: int = 16
    """After this many samples in a row that time out, the rest of the batch counts as timed out for that reward."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion to score: its place in the batch, and the places of the rewards that are to score it."""

    index: int
    rewards: Sequence[int]
    example: Example
    completion: Completion


def send_frame(connection: socket.socket, content: bytes) -> None:
    """Write a length and the content."""
    connection.sendall(_HEADER.pack(len(content)) + content)


def receive_frame(connection: socket.socket) -> bytes | None:
    """Read what `send_frame` wrote; None when the other side is gone."""
    header = _receive_exactly(connection, _HEADER.size)
    return None if header is None else _receive_exactly(connection, _HEADER.unpack(header)[0])


def main(descriptor: int) -> None:
    """Run a nursery that is told what to do over the socket with this file descriptor."""
    parent = os.getppid()
    control = socket.socket(fileno=descriptor)
    try:
        rewards, limits = unpack(receive_frame(control) or b"")
        for reward in rewards:
            getattr(reward, "warm_up", _nothing_to_warm_up)()
        confinement = Confinement(_readable(rewards), memory_mb=limits.memory_mb)
        _rehearse(confinement)
    except BaseException:
        send_frame(control, traceback.format_exc()[-_TRACEBACK_CHARACTERS:].encode(errors="replace"))
        return
    gc.collect()
    gc.freeze()
    send_frame(control, b"")
    _Nursery(control, parent, rewards, limits, confinement).run()


def _nothing_to_warm_up() -> None:
    """Most rewards are ready when they are built."""


def _readable(rewards: Sequence[Any]) -> Iterator[str]:
    """What workers may read: the interpreter, all that can be imported, caches, and what lies beside a reward's module."""
    yield from interpreter_paths()
    yield from sys.path
    yield from (os.environ[name] for name in ("HF_HOME", "XDG_CACHE_HOME") if name in os.environ)
    for reward in rewards:
        named = reward if hasattr(reward, "__qualname__") else type(reward)
        file = getattr(sys.modules.get(named.__module__), "__file__", None)
        if file:
            yield os.path.dirname(os.path.realpath(file))  # noqa: PTH120 - Landlock takes texts


def _rehearse(confinement: Confinement) -> None:
    """Confine a process that does nothing else: what cannot be done here is an error now, not on every sample."""
    report, words = os.pipe()
    process = os.fork()
    if not process:
        try:
            confinement.apply()
        except BaseException:
            os.write(words, traceback.format_exc()[-_TRACEBACK_CHARACTERS:].encode(errors="replace"))
        finally:
            os._exit(0)
    os.close(words)
    with open(report, "rb") as file:  # noqa: PTH123 - it is a pipe
        problem = file.read().decode(errors="replace")
    os.waitpid(process, 0)
    if problem:
        raise RuntimeError(problem)


class _Nursery:
    def __init__(
        self, control: socket.socket, parent: int, rewards: Sequence[Any], limits: Limits, confinement: Confinement
    ) -> None:
        self._control = control
        self._parent = parent
        self._rewards = rewards
        self._limits = limits
        self._confinement = confinement
        self._workers: dict[int, int] = {}

    def run(self) -> None:
        """Fork a worker for each socket that comes in, in place of the one that had its slot, until the parent is gone."""
        self._control.settimeout(_PARENT_POLL_SECONDS)
        try:
            while os.getppid() == self._parent:
                try:
                    request, descriptors, _, _ = socket.recv_fds(self._control, 64, 1)
                except TimeoutError:
                    continue
                if not request:
                    break
                slot = int(request)
                ended = self._end(slot)
                self._workers[slot] = self._fork(socket.socket(fileno=descriptors[0]))
                send_frame(self._control, json.dumps([self._workers[slot], ended]).encode())
        finally:
            for slot in list(self._workers):
                self._end(slot)

    def _end(self, slot: int) -> int | None:
        """Kill the slot's worker and what it started; its exit code, or minus the signal that ended it before."""
        process = self._workers.pop(slot, None)
        if process is None:
            return None
        for kill, target in ((os.killpg, process), (os.kill, process)):
            try:
                kill(target, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

    def _fork(self, connection: socket.socket) -> int:
        nursery = os.getpid()
        process = os.fork()
        if process:
            connection.close()
            return process
        try:
            self._control.close()
            _confine(nursery, self._confinement)
            _serve(connection, self._rewards, self._limits)
        finally:
            os._exit(1)


def _confine(nursery: int, confinement: Confinement) -> None:
    os.setsid()
    die_with(nursery)
    # What a reward prints must not reach the terminal's progress bars, and cannot reach the replies.
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nowhere, descriptor)
    # The nursery keeps what it compiles, for the next one; a worker has no business with files.
    sys.dont_write_bytecode = True
    confinement.apply()


def _serve(connection: socket.socket, rewards: Sequence[Any], limits: Limits) -> None:
    """Score chunk after chunk, with a reply of one line for each sample and reward as soon as it is known."""
    most = _peak_memory() + limits.memory_mb * 2**20 // 2
    while (chunk := receive_frame(connection)) is not None:
        samples: list[Sample] = unpack(chunk)
        for sample in samples:
            for index in sample.rewards:
                status, value, problem, unharmed = _limited(rewards[index], sample, limits)
                unharmed = unharmed and _peak_memory() <= most
                reply = json.dumps([sample.index, index, status, value, problem, unharmed])
                connection.sendall(reply.encode() + b"\n")
                if not unharmed:
                    os._exit(0)
    os._exit(0)


def _peak_memory() -> int:
    """The most memory this process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _limited(reward: Any, sample: Sample, limits: Limits) -> tuple[Status, float | None, str, bool]:
    """One score under the processor-time limit: status, value, what went wrong, and whether the worker can go on.

    The kernel ends the process when the time is up: nothing that runs in it can catch or delay that by accident.
    """
    example, completion = _own_copy(sample.example), sample.completion
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, limits.cpu_seconds)
    try:
        return *judged(reward(example, completion)), True
    except BaseException as error:
        unharmed = isinstance(error, Exception) and not isinstance(error, MemoryError)
        return "error", None, traceback.format_exc()[-_TRACEBACK_CHARACTERS:], unharmed
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def judged(value: object) -> tuple[Status, float | None, str]:
    """What a reward returned, as a status, a finite number or None, and what is wrong with it."""
    if value is None:
        return "abstained", None, ""
    if not isinstance(value, numbers.Real):
        return "error", None, f"it returned {type(value).__name__}, not a number or None"
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        return "error", None, f"it returned {number}, not a finite number"
    return "ok", number, ""


def _own_copy(example: Example) -> Example:
    """The example with containers of its own, so that a reward that changes them changes no other score."""
    if isinstance(example.prompt, str) and not example.metadata:
        return example
    prompt = example.prompt if isinstance(example.prompt, str) else [copy.copy(message) for message in example.prompt]
    return replace(example, prompt=prompt, metadata=copy.deepcopy(example.metadata))


def _receive_exactly(connection: socket.socket, size: int) -> bytes | None:
    content = bytearray()
    while len(content) < size:
        piece = connection.recv(min(size - len(content), 1 << 20))
        if not piece:
            return None
        content += piece
    return bytes(content)
