"""A fixed pool of worker processes that score samples, each of which can be killed at the cost of one score.

What decides is the processor time a score takes, so that verdicts do not depend on how busy the machine is.
"""

from __future__ import annotations

import json
import math
import os
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ponder.crossing import CrossingError, pack
from ponder.errors import InputError
from ponder.nursery import Nursery
from ponder.nursery_main import Limits, Sample, Status, send_frame
from ponder.types import Completion, Rollout

__all__ = ["Limits", "Verdict", "WorkerPool"]

_LARGEST_CHUNK = 32
_LARGEST_REPLY = 1 << 16
_RECHECK_SECONDS = 0.05
_TICK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Verdict:
    """One reward's score of one sample, or why there is none."""

    status: Status
    value: float | None = None
    problem: str = ""
    """The traceback, or what else went wrong; empty when nothing did."""


class WorkerPool:
    """Scores samples with rewards in worker processes. Starts with the first call; one call at a time."""

    def __init__(self, rewards: Mapping[str, Any], limits: Limits, plugin_files: Sequence[Path] = ()) -> None:
        self._names = tuple(rewards)
        self._limits = limits
        self._packed = _packed(rewards, limits, plugin_files)
        self._nursery: Nursery | None = None
        self._workers: list[_Worker] = []

    def score(self, rollouts: Sequence[Rollout]) -> list[list[Verdict]]:
        """The verdict of each reward, in the order they were given, on each rollout."""
        batch = _Batch(rollouts, len(self._names), self._limits.give_up_after)
        if rollouts and self._names:
            self._start()
            self._run(batch)
        return batch.verdicts()

    def close(self) -> None:
        """End all processes; a later call starts new ones."""
        for worker in self._workers:
            worker.connection.close()
        self._workers = []
        if self._nursery:
            self._nursery.close()
            self._nursery = None

    def _start(self) -> None:
        if self._nursery is None:
            self._nursery = Nursery(self._packed, self._names)
            count = self._limits.workers or min(8, _available_cores())
            self._workers = [_Worker(slot, *self._nursery.fork(slot)[:2]) for slot in range(count)]

    def _run(self, batch: _Batch) -> None:
        try:
            with selectors.DefaultSelector() as selector:
                for worker in self._workers:
                    selector.register(worker.connection, selectors.EVENT_READ, worker)
                while self._hand_out(batch):
                    for key, _ in selector.select(self._patience()):
                        self._read(key.data, batch, selector)
                    self._kill_sleepers(batch, selector)
        except BaseException:
            # Replies to this batch may still be on their way; a fresh pool cannot mistake them for others.
            self.close()
            raise

    def _hand_out(self, batch: _Batch) -> bool:
        """Give every idle worker a chunk; whether any worker is busy."""
        for worker in self._workers:
            if not worker.expected:
                worker.give(batch.take(len(self._workers)))
        return any(worker.expected for worker in self._workers)

    def _patience(self) -> float:
        """Seconds until the first busy worker is due to be looked at."""
        due = [worker.deadline(self._limits.wall_seconds) for worker in self._workers if worker.expected]
        return max(0.0, min(due) - time.monotonic())

    def _read(self, worker: _Worker, batch: _Batch, selector: selectors.BaseSelector) -> None:
        for reply in worker.replies():
            if reply is None:
                self._replace(worker, batch, selector, None)
                return
            sample, reward = worker.expected.popleft()
            verdict, unharmed = reply
            batch.settle(sample, reward, verdict)
            if not unharmed:
                batch.give_back(worker.expected)
                self._replace(worker, batch, selector, None)
                return

    def _kill_sleepers(self, batch: _Batch, selector: selectors.BaseSelector) -> None:
        for worker in self._workers:
            if worker.expected and time.monotonic() >= worker.deadline(self._limits.wall_seconds):
                if worker.has_news():
                    worker.look_again()
                elif overdue := self._overdue(worker):
                    self._replace(worker, batch, selector, Verdict("timeout", problem=overdue))
                else:
                    worker.look_again()

    def _overdue(self, worker: _Worker) -> str:
        """What a worker that has long been silent did wrong; nothing when it only waits for a core."""
        state, used = _activity(worker.process)
        if state not in ("R", "D"):
            return f"no answer within {self._limits.wall_seconds:g} s"
        # The kernel ends a worker at its limit of processor time, unless text that a reward ran has put an end to that.
        if used - worker.first_seen(used) > self._limits.cpu_seconds + _TICK_SECONDS:
            return f"more than {self._limits.cpu_seconds:g} s of processor time"
        return ""

    def _replace(
        self, worker: _Worker, batch: _Batch, selector: selectors.BaseSelector, verdict: Verdict | None
    ) -> None:
        """Fork another worker in place of one that is gone, settle what it was scoring, and hand back the rest."""
        assert self._nursery is not None
        selector.unregister(worker.connection)
        worker.connection.close()
        connection, process, ended = self._nursery.fork(worker.slot)
        if worker.expected:
            sample, reward = worker.expected.popleft()
            batch.settle(sample, reward, verdict or self._cause(ended))
            batch.give_back(worker.expected)
        self._workers[worker.slot] = _Worker(worker.slot, connection, process)
        selector.register(connection, selectors.EVENT_READ, self._workers[worker.slot])

    def _cause(self, ended: int | None) -> Verdict:
        if ended == -signal.SIGPROF:
            return Verdict("timeout", problem=f"more than {self._limits.cpu_seconds:g} s of processor time")
        how = f"exit code {ended}" if ended is None or ended >= 0 else f"signal {signal.Signals(-ended).name}"
        return Verdict("error", problem=f"it ended its worker process ({how})")


class _Batch:
    """What of a batch is settled, and what is still to be scored."""

    def __init__(self, rollouts: Sequence[Rollout], rewards: int, give_up_after: int) -> None:
        self._rollouts = rollouts
        self._verdicts: list[list[Verdict | None]] = [[None] * rewards for _ in rollouts]
        self._pending = deque(range(len(rollouts)))
        self._give_up_after = give_up_after
        self._last = [len(rollouts)] * rewards
        self._largest_chunk = _LARGEST_CHUNK

    def take(self, workers: int) -> list[Sample]:
        """The next samples for one of so many workers: fewer towards the end, and one by one once anything timed out."""
        size = max(1, min(self._largest_chunk, len(self._pending) // (2 * workers)))
        samples: list[Sample] = []
        while self._pending and len(samples) < size:
            index = self._pending.popleft()
            if rewards := self._unsettled(index):
                rollout = self._rollouts[index]
                samples.append(Sample(index, rewards, rollout.example, _plain(rollout.completion)))
        return samples

    def settle(self, sample: int, reward: int, verdict: Verdict) -> None:
        """Keep a verdict; a long enough row of time-outs ends the reward's work on this batch there.

        The row is one of neighbours in the batch, and the first such row counts, so that it does not matter which
        worker came to what sample when.
        """
        self._verdicts[sample][reward] = verdict
        if verdict.status == "timeout":
            self._largest_chunk = 1
            first = last = sample
            while first > 0 and self._timed_out(first - 1, reward):
                first -= 1
            while last + 1 < len(self._verdicts) and self._timed_out(last + 1, reward):
                last += 1
            if last - first + 1 >= self._give_up_after:
                self._last[reward] = min(self._last[reward], first + self._give_up_after - 1)

    def give_back(self, expected: deque[tuple[int, int]]) -> None:
        """Put what a lost worker did not come to in front of the queue."""
        self._pending.extendleft(sorted({sample for sample, _ in expected}, reverse=True))
        expected.clear()

    def verdicts(self) -> list[list[Verdict]]:
        """All verdicts, once everything is settled."""
        return [
            [self._verdict(sample, reward) for reward in range(len(self._last))]
            for sample in range(len(self._verdicts))
        ]

    def _verdict(self, sample: int, reward: int) -> Verdict:
        found = self._verdicts[sample][reward]
        if sample > self._last[reward] or found is None:
            return Verdict("timeout", problem=f"not tried: {self._give_up_after} samples in a row before it timed out")
        return found

    def _unsettled(self, sample: int) -> list[int]:
        row = self._verdicts[sample]
        return [reward for reward, found in enumerate(row) if found is None and sample <= self._last[reward]]

    def _timed_out(self, sample: int, reward: int) -> bool:
        verdict = self._verdicts[sample][reward]
        return verdict is not None and verdict.status == "timeout"


@dataclass(slots=True)
class _Worker:
    slot: int
    connection: socket.socket
    process: int
    expected: deque[tuple[int, int]] = field(default_factory=deque)
    """(sample, reward) of the replies still to come, in order; the worker is busy with the first."""
    _received: bytes = b""
    _since: float = 0.0
    _not_before: float = 0.0
    _first_seen: float | None = None

    def give(self, samples: list[Sample]) -> None:
        """Send a chunk. A worker that is gone is found out by the read that follows."""
        if not samples:
            return
        packed = _packed_samples(samples)
        self.expected.extend((sample.index, reward) for sample in samples for reward in sample.rewards)
        self._since, self._first_seen = time.monotonic(), None
        try:
            send_frame(self.connection, packed)
        except ConnectionError:
            return

    def replies(self) -> list[tuple[Verdict, bool] | None]:
        """What has arrived: verdicts, each with whether the worker goes on; None in the end when it is gone or babbles."""
        try:
            arrived = self.connection.recv(1 << 18)
        except ConnectionError:
            arrived = b""
        *lines, self._received = (self._received + arrived).split(b"\n")
        self._since, self._first_seen = time.monotonic(), None
        replies = [_parsed(line, expected) for line, expected in zip(lines, self.expected, strict=False)]
        if not arrived or len(self._received) > _LARGEST_REPLY or len(lines) > len(self.expected):
            replies.append(None)
        return replies

    def deadline(self, wall_seconds: float) -> float:
        """When to look whether the worker sleeps."""
        return max(self._since + wall_seconds, self._not_before)

    def look_again(self) -> None:
        """Put the deadline off for a moment."""
        self._not_before = time.monotonic() + _RECHECK_SECONDS

    def first_seen(self, used: float) -> float:
        """The processor time it had used when its silence was first looked into."""
        if self._first_seen is None:
            self._first_seen = used
        return self._first_seen

    def has_news(self) -> bool:
        """Whether a reply waits to be read."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.connection, selectors.EVENT_READ)
            return bool(selector.select(0))


def _packed(rewards: Mapping[str, Any], limits: Limits, plugin_files: Sequence[Path]) -> bytes:
    for name, reward in rewards.items():
        try:
            pack(reward)
        except CrossingError as error:
            raise InputError(
                f"reward {name!r} cannot be sent to the processes that score: {error}. "
                "Define its class at the top of a module, and keep no open files, locks or models in it"
            ) from error
    return pack((list(rewards.values()), limits), plugin_files)


def _packed_samples(samples: list[Sample]) -> bytes:
    try:
        return pack(samples)
    except CrossingError as error:
        raise InputError(
            f"the examples cannot be sent to the processes that score: {error}. "
            "Keep plain data in their metadata: text, numbers, lists, mappings"
        ) from error


def _available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _plain(completion: Completion) -> Completion:
    """The completion with tuples for its sequences: a worker should not need the library whose arrays they were."""
    if isinstance(completion.token_ids, tuple) and isinstance(completion.logprobs, tuple):
        return completion
    return Completion(
        completion.text,
        tuple(int(token) for token in completion.token_ids),
        tuple(float(logprob) for logprob in completion.logprobs),
        completion.finish_reason,
        completion.policy_version,
        token_count=completion.token_count,
    )


def _parsed(line: bytes, expected: tuple[int, int]) -> tuple[Verdict, bool] | None:
    """The verdict in a reply; None when this is not what a worker says about the sample it should be at."""
    try:
        sample, reward, status, value, problem, unharmed = json.loads(line)
    except (ValueError, TypeError, RecursionError):
        return None
    if (sample, reward) != expected or status not in ("ok", "abstained", "error"):
        return None
    if (status == "ok") != (isinstance(value, float) and math.isfinite(value)):
        return None
    return Verdict(status, value, str(problem)), unharmed is True


def _activity(process: int) -> tuple[str, float]:
    """The state of a process as the kernel has it ("R" runs or waits for a core), and the seconds of processor time it used."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return "X", 0.0
    return fields[0], (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
