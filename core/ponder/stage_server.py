"""The processes in which stages are made side by side: a server that forks them, and what a stage sees in place of the run.

The server is forked before the run has threads or has loaded anything heavy, because a copy of a process with either can
hang. It forks a process for each stage that it is asked for, with the socket on which that stage reports.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, NoReturn

from ponder.confinement import die_with
from ponder.context import FinishedStage, Surroundings
from ponder.errors import PonderError
from ponder.making import make_stage, parents_of
from ponder.nursery_main import send_frame
from ponder.signals import StopSignals
from ponder.store import Store, read_stage

if TYPE_CHECKING:
    from ponder.planning import PlannedStage
    from ponder.plugins import Registry
    from ponder.recipe import Recipe

_LONGEST_REQUEST: Final = 4096


class StageServer:
    """Forks a process for each stage that is asked for; ends, and they with it, when this process does."""

    def __init__(self, recipe: Recipe, registry: Registry, store: Store, plan: list[PlannedStage], jobs: int) -> None:
        self._control, theirs = socket.socketpair()
        run = os.getpid()
        self._process = os.fork()
        if self._process == 0:
            self._control.close()
            _as_server(run, theirs, _Maker(recipe, registry, store, {stage.entry.name: stage for stage in plan}), jobs)
        theirs.close()

    def make(self, stage: str) -> socket.socket:
        """Have a stage made; the socket brings what it has to say, and ends when its process does."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [stage.encode()], [theirs.fileno()])
        return ours

    def close(self) -> None:
        """End the server and every stage that still runs."""
        self._control.close()
        os.waitpid(self._process, 0)


def _as_server(run: int, control: socket.socket, maker: _Maker, jobs: int) -> NoReturn:
    try:
        # A terminal's Ctrl-C is for the run alone, which passes it on.
        os.setsid()
        die_with(run)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
        maker.warm_up()
        while True:
            request, descriptors, _, _ = socket.recv_fds(control, _LONGEST_REQUEST, 1)
            if not request:
                break
            connection = socket.socket(fileno=descriptors[0])
            server = os.getpid()
            if os.fork() == 0:
                control.close()
                _as_stage(server, connection, maker, request.decode())
            connection.close()
    finally:
        os._exit(0)


def _as_stage(server: int, connection: socket.socket, maker: _Maker, stage: str) -> NoReturn:
    try:
        die_with(server)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        report = _Report(connection)
        with StopSignals() as signals:
            report("process", os.getpid())
            try:
                maker.make(stage, report, signals)
                report("ended")
            except PonderError as error:
                report("ended", type(error).__name__, str(error), error.exit_code)
            except KeyboardInterrupt:
                stopped = signals.interruption(f"stage {stage}; the same command continues from its last checkpoint")
                report("ended", type(stopped).__name__, str(stopped), stopped.exit_code)
    finally:
        # Not by way of exit handlers, some of which are the run's.
        os._exit(0)


class _Maker:
    """What a stage's process needs, as it was when the server was forked."""

    def __init__(self, recipe: Recipe, registry: Registry, store: Store, plan: Mapping[str, PlannedStage]) -> None:
        self._recipe = recipe
        self._registry = registry
        self._store = store
        self._plan = plan

    def warm_up(self) -> None:
        """Import, once for all stages, what they are built from; what cannot be imported is the stage's to tell."""
        sections = (self._recipe.policies, self._recipe.tasks, self._recipe.samplers, self._recipe.losses)
        entries = [*(stage.entry for stage in self._plan.values()), *(e for each in sections for e in each.values())]
        for component in {id(entry.component): entry.component for entry in entries}.values():
            with suppress(Exception, SystemExit):
                component.resolved()

    def make(self, name: str, report: _Report, signals: StopSignals) -> None:
        run = Surroundings(self._recipe, self._registry, _TrackingElsewhere(report), _ScreenElsewhere(report), signals)
        make_stage(self._plan[name], run, self._store, dict(self._behind(name)))

    def _behind(self, name: str) -> Iterator[tuple[str, FinishedStage]]:
        """The stages that a stage descends from, in the order of the recipe; the scheduler has seen them done."""
        found, waiting = set[str](), [name]
        while waiting:
            new = set(parents_of(self._recipe, self._plan[waiting.pop()])) - found
            found |= new
            waiting += new
        for one, stage in self._plan.items():
            if one in found:
                yield one, read_stage(self._store.published(stage.identity.fingerprint))


class _Report:
    """Tells the run what happens, call by call; where nobody listens any more, this process has no reason to go on."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def __call__(self, call: str, *arguments: object) -> None:
        with _not_interrupted():
            try:
                send_frame(self._connection, json.dumps([call, *arguments]).encode())
            except OSError:
                os._exit(1)


@contextmanager
def _not_interrupted() -> Iterator[None]:
    """Half a frame would make everything after it unreadable."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _TrackingElsewhere:
    """See `ponder.tracking.Tracking`."""

    def __init__(self, report: _Report) -> None:
        self._report = report

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._report("log", {name: float(value) for name, value in metrics.items()}, step)

    def artifact(self, path: Path, published: Path | None = None) -> None:
        self._report("artifact", str(path), published and str(published))


class _ScreenElsewhere:
    """See `ponder.progress.Screen`."""

    def __init__(self, report: _Report) -> None:
        self._report = report
        self._numbers = itertools.count()

    def say(self, message: str) -> None:
        self._report("say", message)

    def bar(self, description: str, total: int, start: int = 0) -> _BarElsewhere:
        return _BarElsewhere(self._report, next(self._numbers), description, total, start)


class _BarElsewhere:
    def __init__(self, report: _Report, number: int, description: str, total: int, start: int) -> None:
        self._report = report
        self._number = number
        self._opening = (description, total, start)
        self._is_open = False

    def advance(self, done: int) -> None:
        if self._is_open:
            self._report("advance", self._number, done)

    def expect(self, total: int) -> None:
        if self._is_open:
            self._report("expect", self._number, total)

    def show(self, numbers: Mapping[str, float]) -> None:
        if self._is_open:
            self._report("show", self._number, {name: float(value) for name, value in numbers.items()})

    def __enter__(self) -> _BarElsewhere:
        self._is_open = True
        self._report("open", self._number, *self._opening)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        self._report("close", self._number)
