"""Stages side by side: each is started once all it is made from is finished, and what its process reports is passed on."""

from __future__ import annotations

import json
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ponder import errors
from ponder.context import FinishedStage
from ponder.errors import Interrupted, PonderError, StageError
from ponder.making import parents_of, tracked_params
from ponder.nursery_main import receive_frame
from ponder.store import Store, read_stage

if TYPE_CHECKING:
    import socket

    from ponder.planning import PlannedStage
    from ponder.progress import Bar, Screen
    from ponder.recipe import Recipe
    from ponder.signals import StopSignals
    from ponder.stage_server import StageServer
    from ponder.tracking import NullTracker, SpooledTracker

    Tracker = SpooledTracker | NullTracker

_SECONDS_BETWEEN_LOOKS: Final = 0.2
"""At signals, while no stage says anything."""
_SECONDS_TO_STOP: Final = 10.0
"""After a second signal, until stages are killed."""


class Scheduler:
    """Makes the stages of a plan, at most `jobs` at a time; of those that can begin, the one first that most others wait for."""

    def __init__(
        self,
        recipe: Recipe,
        plan: list[PlannedStage],
        store: Store,
        server: StageServer,
        screen: Screen,
        tracker: Tracker,
        jobs: int,
    ) -> None:
        self._parents = {stage.entry.name: parents_of(recipe, stage) for stage in plan}
        followers = _followers(self._parents)
        missing = sorted(
            (stage for stage in plan if not stage.is_cached), key=lambda stage: -followers[stage.entry.name]
        )
        self._waiting = {stage.entry.name: stage for stage in missing}
        self._done = {stage.entry.name for stage in plan if stage.is_cached}
        self._store = store
        self._server = server
        self._screen = screen
        self._tracks = _Tracks(tracker)
        self._jobs = jobs
        self._running: dict[str, _Running] = {}
        self._selector = selectors.DefaultSelector()
        self._problem: PonderError | None = None

    def run(self, signals: StopSignals, announce: Callable[[PlannedStage], None]) -> Iterator[FinishedStage]:
        """The stages that had to be made, each as soon as it is.

        Once one has failed, or a signal has come, no other is started, and those that run stop at their next step with
        a checkpoint; then the first error is raised.
        """
        try:
            with signals.deferred():
                while self._running or (self._waiting and self._problem is None):
                    if self._problem is None:
                        self._start_ready(announce)
                    for running in self._heard():
                        yield from self._ended(running)
                    if signals.received and self._problem is None:
                        self._problem = signals.interruption("finished stages are kept; the same command continues")
                        self._stop(signals.number)
        except KeyboardInterrupt:
            self._hurry(signals.number)
            raise
        finally:
            for name in self._running:
                self._tracks.close(name, "killed")
            self._server.close()
        if self._problem is not None:
            raise self._problem

    def _start_ready(self, announce: Callable[[PlannedStage], None]) -> None:
        for name, stage in list(self._waiting.items()):
            if len(self._running) == self._jobs:
                return
            if self._done.issuperset(self._parents[name]):
                announce(self._waiting.pop(name))
                connection = self._server.make(name)
                track = self._tracks.open(name, tracked_params(stage))
                self._running[name] = _Running(stage, connection, self._screen, track)
                self._selector.register(connection, selectors.EVENT_READ, self._running[name])

    def _heard(self) -> Iterator[_Running]:
        """Pass on what the stages say; those that have ended."""
        for key, _ in self._selector.select(_SECONDS_BETWEEN_LOOKS):
            running: _Running = key.data
            frame = receive_frame(running.connection)
            if frame is not None:
                running.hear(*json.loads(frame))
                continue
            self._selector.unregister(running.connection)
            running.close()
            del self._running[running.name]
            yield running

    def _ended(self, running: _Running) -> Iterator[FinishedStage]:
        if running.problem is None:
            made = read_stage(self._store.published(running.stage.identity.fingerprint))
            self._tracks.published(running.name, made)
            self._done.add(running.name)
            yield made
            return
        self._tracks.close(running.name, "killed" if isinstance(running.problem, Interrupted) else "failed")
        if self._problem is None:
            self._stop(signal.SIGTERM)
        if self._problem is None or isinstance(self._problem, Interrupted):
            # What a stage says of where it stopped is more than that the run did.
            self._problem = running.problem

    def _stop(self, number: int) -> None:
        """Once: to a stage a second signal means not to finish its step."""
        for running in self._running.values():
            running.send(number)

    def _hurry(self, number: int) -> None:
        """The second signal: stages stop within their step, or are killed after a while."""
        self._stop(number)
        deadline = time.monotonic() + _SECONDS_TO_STOP
        while self._running and time.monotonic() < deadline:
            for running in self._heard():
                self._tracks.close(running.name, "killed")


def _followers(parents: dict[str, tuple[str, ...]]) -> dict[str, int]:
    """How many stages come after each, directly or through others; parents stand before their children."""
    after: dict[str, set[str]] = {name: set() for name in parents}
    for name in reversed(parents):
        for parent in parents[name]:
            after[parent] |= {name, *after[name]}
    return {name: len(names) for name, names in after.items()}


class _Running:
    """A stage that is being made elsewhere."""

    def __init__(self, stage: PlannedStage, connection: socket.socket, screen: Screen, track: _Track) -> None:
        self.stage = stage
        self.name = stage.entry.name
        self.connection = connection
        self.problem: PonderError | None = StageError(
            f"the process of stage {self.name!r} ended without a word; if the system killed it to free memory, give --jobs a "
            "smaller number. What earlier stages made is kept, and so is this stage's last checkpoint."
        )
        self._screen = screen
        self._track = track
        self._bars: dict[int, Bar] = {}
        self._process: int | None = None
        self._owed: list[int] = []

    def hear(self, call: str, *arguments: Any) -> None:
        """Do what the stage asks for."""
        calls: dict[str, Callable[..., None]] = {
            "process": self._start,
            "say": lambda message: self._screen.say(self._named(message)),
            "open": self._open_bar,
            "advance": lambda number, done: self._bars[number].advance(done),
            "expect": lambda number, total: self._bars[number].expect(total),
            "show": lambda number, numbers: self._bars[number].show(numbers),
            "close": lambda number: self._bars.pop(number).__exit__(None, None, None),
            "log": partial(self._track, "log"),
            "artifact": lambda path, published: self._track("artifact", Path(path), published and Path(published)),
            "ended": self._end,
        }
        calls[call](*arguments)

    def _start(self, process: int) -> None:
        self._process = process
        for number in self._owed:
            self.send(number)

    def _open_bar(self, number: int, description: str, total: int, start: int) -> None:
        self._bars[number] = self._screen.bar(self._named(description), total, start)
        self._bars[number].__enter__()

    def _end(self, kind: str | None = None, message: str = "", exit_code: int = 0) -> None:
        if kind is None:
            self.problem = None
        elif kind == Interrupted.__name__:
            self.problem = Interrupted(exit_code - 128, message)
        else:
            self.problem = getattr(errors, kind, StageError)(message)

    def send(self, number: int) -> None:
        """Send its process a signal, as soon as it is known."""
        if self._process is None:
            self._owed.append(number)
            return
        with suppress(ProcessLookupError):
            os.kill(self._process, number)

    def close(self) -> None:
        """Let go of what a process that was killed has left open."""
        self.connection.close()
        for bar in self._bars.values():
            bar.__exit__(None, None, None)
        self._bars.clear()

    def _named(self, text: str) -> str:
        """The text with the stage's name, where several stages speak at once."""
        return text if text.split(" ")[0].strip(":") == self.name else f"{self.name}: {text}"


class _Tracks:
    """A tracker knows one innermost run: the stage that began first speaks at once, what others say waits for their turn."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._tracks: dict[str, _Track] = {}

    def open(self, name: str, params: Mapping[str, object]) -> _Track:
        track = self._tracks[name] = _Track(self._tracker, is_on=not self._tracks)
        track("start", name, params)
        return track

    def published(self, name: str, made: FinishedStage) -> None:
        self._tracks[name]("log", made.result.metrics)
        self._tracks[name]("published", made.directory)
        self.close(name, "finished")

    def close(self, name: str, status: str) -> None:
        self._tracks[name]("finish", status)
        self._tracks[name].has_ended = True
        for first, track in list(self._tracks.items()):
            if not track.turn():
                break
            del self._tracks[first]


class _Track:
    """What is to be tracked of one stage."""

    def __init__(self, tracker: Tracker, *, is_on: bool) -> None:
        self._tracker = tracker
        self._is_on = is_on
        self._waiting: list[tuple[float, str, tuple[Any, ...]]] = []
        self.has_ended = False

    def __call__(self, call: str, *arguments: Any) -> None:
        if self._is_on:
            getattr(self._tracker, call)(*arguments)
        else:
            self._waiting.append((time.time(), call, arguments))

    def turn(self) -> bool:
        """Say what has waited, and the rest at once; whether that was all there is."""
        self._is_on = True
        for then, call, arguments in self._waiting:
            self._tracker.at(then)
            self(call, *arguments)
        self._tracker.at(None)
        self._waiting.clear()
        return self.has_ended
