"""The line-by-line log of a stage's numbers, which a resumed stage takes up exactly where its checkpoint stands."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ponder.durable import to_json

METRICS_FILE = "metrics.jsonl"
"""Numbers that are a function of the recipe, to the bit."""
TIMINGS_FILE = "timings.jsonl"
"""Numbers that depend on the clock or the machine."""


@dataclass(frozen=True, slots=True)
class LogPosition:
    """How long a log was, in bytes, and the SHA-256 of what it held then."""

    length: int
    sha256: str


class MetricsLog:
    """A JSON Lines file of numbers: `{"step": 3, "loss": 0.5}`; what is not finite is null.

    A new log starts empty. One that `holds_resumable_lines` keeps them until it is known which checkpoint the stage
    goes on from: until `rewind` or `finish`, new lines wait in memory, because the stage may be repeating itself.
    """

    def __init__(self, path: Path, *, holds_resumable_lines: bool = False) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(path, flags if holds_resumable_lines else flags | os.O_TRUNC, 0o666)
        self._waiting: list[bytes] | None = [] if holds_resumable_lines else None
        self._length = 0
        self._hash = hashlib.sha256()

    def append(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a line; `step` is left out when it is None."""
        numbers = {name: _number(value) for name, value in metrics.items()}
        line = (to_json(numbers if step is None else {"step": step, **numbers}) + "\n").encode()
        if self._waiting is None:
            self._write(line)
        else:
            self._waiting.append(line)

    def position(self) -> LogPosition:
        """Where the log stands now; what is in it is durable once this returns."""
        self.finish()
        os.fsync(self._file)
        return LogPosition(self._length, self._hash.hexdigest())

    def holds(self, position: LogPosition) -> bool:
        """Whether the log's first bytes are those that stood there at `position`."""
        content = os.pread(self._file, position.length, 0)
        return hashlib.sha256(content).hexdigest() == position.sha256

    def rewind(self, position: LogPosition) -> None:
        """Go on from `position`, dropping every later line and those that wait."""
        self._hash = hashlib.sha256(os.pread(self._file, position.length, 0))
        self._length = position.length
        self._waiting = None
        os.ftruncate(self._file, self._length)

    def lines(self) -> Iterator[dict[str, float]]:
        """What the log holds, line by line; what was not finite is NaN."""
        for line in os.pread(self._file, self._length, 0).splitlines():
            yield {name: math.nan if value is None else value for name, value in json.loads(line).items()}

    def finish(self) -> None:
        """Nothing is resumed after all: lines of an earlier process make room for those that wait."""
        if self._waiting is not None:
            os.ftruncate(self._file, 0)
            waiting, self._waiting = self._waiting, None
            self._write(b"".join(waiting))

    def _write(self, data: bytes) -> None:
        written = os.pwrite(self._file, data, self._length)
        if written < len(data):
            # A write cut short is a full disk or a limit; writing the rest brings out which.
            os.pwrite(self._file, data[written:], self._length + written)
        self._length += len(data)
        self._hash.update(data)

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)


def _number(value: float) -> float:
    """Plain Python numbers; one-element tensors and arrays are taken as floats."""
    return value if isinstance(value, bool | int | float) else float(value)


def statistics_of(component: object) -> dict[str, float]:
    """What a sampler or a reward says about its work since it was last asked; see `ponder.interfaces`."""
    own = getattr(component, "statistics", None)
    return dict(own()) if own else {}
