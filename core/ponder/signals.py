"""SIGINT and SIGTERM: a step is finished and checkpointed first; where no step runs, or on the second signal, it stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from ponder.errors import Interrupted

STOPPING = (signal.SIGINT, signal.SIGTERM)
_entered: list[StopSignals] = []


def stop_requested() -> bool:
    """Whether a signal has asked this program to stop; for what may wait long within a step, in any thread."""
    return any(signals.received for signals in _entered)


class StopSignals:
    """While entered, turns SIGINT and SIGTERM into a request to stop; out of the main thread it changes nothing."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._deferring = False
        self._previous: dict[int, Any] = {}

    @property
    def received(self) -> bool:
        """Whether a signal has asked to stop."""
        return self._received is not None

    @property
    def number(self) -> int:
        """The signal that asked to stop; SIGINT where none has."""
        return self._received or signal.SIGINT

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let the first signal wait until this block ends or somebody looks at `received`."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False

    def interruption(self, message: str) -> Interrupted:
        """The error that ends the run with the exit code of the signal received."""
        return Interrupted(self.number, f"stopped by {signal.Signals(self.number).name}: {message}")

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in STOPPING}
            _entered.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self in _entered:
            _entered.remove(self)
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        is_first = self._received is None
        self._received = self._received or number
        if not (is_first and self._deferring):
            # KeyboardInterrupt, because no `except Exception` on the way swallows it.
            raise KeyboardInterrupt
