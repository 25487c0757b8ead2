"""A tracker that cannot stop or slow a run: events go to a spool file, and one thread sends them from there."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from ponder.durable import to_json
from ponder.interfaces import Tracker

SPOOL_FILE = "tracking.jsonl"
ATTEMPTS = 4
FIRST_PAUSE = 1.0
SECONDS_WITH_PROGRESS = 15.0
SECONDS_WITHOUT = 5.0


class Tracking(Protocol):
    """What a stage may tell of itself: numbers and files."""

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers."""
        ...

    def artifact(self, path: Path, published: Path | None = None) -> None:
        """Keep a file; `published` is where it is found once the stage is done."""
        ...


class NullTracker:
    """The tracker of a recipe that has none."""

    def at(self, seconds: float | None) -> None:
        """Do nothing."""

    def start(self, name: str, params: Mapping[str, object]) -> None:
        """Do nothing."""

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Do nothing."""

    def artifact(self, path: Path, published: Path | None = None) -> None:
        """Do nothing."""

    def published(self, directory: Path) -> None:
        """Do nothing."""

    def finish(self, status: str) -> None:
        """Do nothing."""

    def close(self) -> bool:
        """Nothing is left."""
        return True


@dataclass(frozen=True, slots=True)
class _Event:
    call: Literal["start", "log", "artifact", "published", "finish"]
    name: str = ""
    params: Mapping[str, object] | None = None
    metrics: Mapping[str, float] | None = None
    step: int | None = None
    path: Path | None = None
    published: Path | None = None
    time: float = 0.0

    def line(self) -> str:
        fields = {name: getattr(self, name) for name in self.__slots__}
        return to_json({name: value for name, value in fields.items() if value not in (None, "")}) + "\n"

    def send(self, tracker: Tracker) -> None:
        getattr(tracker, "at", _ignore)(self.time)
        if self.call == "start":
            tracker.start(self.name, self.params or {})
        elif self.call == "log":
            tracker.log(self.metrics or {}, self.step)
        elif self.call == "finish":
            tracker.finish(self.name)
        elif self.path is not None and self.call == "published":
            getattr(tracker, "published", _ignore)(self.path)
        elif self.path is not None:
            self._send_file(tracker, self.path)

    def _send_file(self, tracker: Tracker, path: Path) -> None:
        """From where the file is now: publication may move it at any moment, even while it is read."""
        try:
            tracker.artifact(path)
        except Exception:
            if path.exists() or self.published is None:
                raise
            tracker.artifact(self.published)


def _ignore(told: object) -> None:
    """What a tracker does that has no such method."""


class SpooledTracker:
    """Takes the calls of a Tracker, returns at once, and makes them later on the tracker that `build` gives.

    What the tracker raises is said once, and tried again a few times. As long as not all has been sent, the events stay in
    the spool file, one JSON object a line. `build` is called by the sending thread too, so it may connect to a server.
    """

    def __init__(self, build: Callable[[], Tracker], spool: Path, say: Callable[[str], None]) -> None:
        self._spool = spool
        self._say = say
        self._accepted = 0
        self._spool_works = True
        self._time: float | None = None
        self._sender = _Sender(build, self._report)

    def at(self, seconds: float | None) -> None:
        """When what is told from here on happened, in seconds since 1970; None is when it is told."""
        self._time = seconds

    def start(self, name: str, params: Mapping[str, object]) -> None:
        """Open a run, nested in the one that is open."""
        self._accept(_Event("start", name=name, params=dict(params)))

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers to the innermost open run."""
        self._accept(_Event("log", metrics={name: float(value) for name, value in metrics.items()}, step=step))

    def artifact(self, path: Path, published: Path | None = None) -> None:
        """Keep a file with the innermost open run; `published` is where it is found once the stage is done."""
        self._accept(_Event("artifact", path=path, published=published))

    def published(self, directory: Path) -> None:
        """Tell that the stage of the innermost open run is done and lies in `directory`."""
        self._accept(_Event("published", path=directory))

    def finish(self, status: str) -> None:
        """Close the innermost open run."""
        self._accept(_Event("finish", name=status))

    def close(self) -> bool:
        """Wait a bounded time until all is sent; False when the tracker does not give its thread back."""
        has_ended = self._sender.close()
        left = self._accepted - self._sender.sent
        if left:
            self._say(f"tracker: {left} of {self._accepted} events were not sent; they are kept in {self._spool}")
        else:
            with suppress(OSError):
                self._spool.unlink(missing_ok=True)
        return has_ended

    def _accept(self, event: _Event) -> None:
        event = replace(event, time=time.time() if self._time is None else self._time)
        self._accepted += 1
        try:
            with self._spool.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(event.line())
        except OSError as error:
            if self._spool_works:
                self._say(f"tracker: cannot write {self._spool} ({error.strerror}); the run goes on without it")
            self._spool_works = False
        self._sender.put(event)

    def _report(self, error: BaseException) -> None:
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        self._say(f"tracker: {what}; the run goes on, and what cannot be sent is kept in {self._spool}")


class _Sender:
    """The thread that calls the tracker: in order, with pauses that grow while it fails."""

    def __init__(self, build: Callable[[], Tracker], report: Callable[[BaseException], None]) -> None:
        self.sent = 0
        self._report = report
        self._has_reported = False
        self._queue: queue.SimpleQueue[_Event | None] = queue.SimpleQueue()
        self._last_progress = time.monotonic()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(build,), name="ponder-tracking", daemon=True)
        self._thread.start()

    def put(self, event: _Event) -> None:
        self._queue.put(event)

    def close(self) -> bool:
        began = time.monotonic()
        self._closing.set()
        self._queue.put(None)
        while self._thread.is_alive() and not self._is_hopeless(began):
            self._thread.join(0.02)
        return not self._thread.is_alive()

    def _is_hopeless(self, began: float) -> bool:
        now = time.monotonic()
        return now - began > SECONDS_WITH_PROGRESS or now - max(began, self._last_progress) > SECONDS_WITHOUT

    def _run(self, build: Callable[[], Tracker]) -> None:
        built: list[Tracker] = []
        # Every `start` and `finish` is called once, failed or not, so that the tracker's nesting stays that of the run.
        is_open = [True]
        if not self._attempt(lambda: built.append(build())):
            return
        while (event := self._queue.get()) is not None:
            is_nested = event.call in ("start", "finish")
            was_sent = (is_nested or is_open[-1]) and self._attempt(
                partial(event.send, built[0]), tries_again=not is_nested
            )
            self.sent += was_sent
            if event.call == "start":
                is_open.append(was_sent)
            elif event.call == "finish":
                is_open.pop()

    def _attempt(self, call: Callable[[], None], *, tries_again: bool = True) -> bool:
        pause = FIRST_PAUSE
        for attempt in range(1, ATTEMPTS + 1):
            try:
                call()
            except BaseException as error:  # a plugin's SystemExit, too, ends nothing but its own call
                self._report_once(error)
            else:
                self._last_progress = time.monotonic()
                return True
            if not tries_again or attempt == ATTEMPTS or self._closing.is_set():
                break
            self._closing.wait(pause)
            pause *= 2
        return False

    def _report_once(self, error: BaseException) -> None:
        if not self._has_reported:
            self._has_reported = True
            self._report(error)
