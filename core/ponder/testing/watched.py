"""Checks in a process of their own: one that hangs, or ends its process, costs itself and none of the others."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import groupby
from multiprocessing.connection import Connection, wait
from typing import Final, TypeAlias

from ponder.confinement import die_with
from ponder.plugins import Offer, Registry
from ponder.testing.running import CheckResult, check_names, checks_of, sentence, suite_of

MOST_SECONDS: Final = 300.0
"""What one check may take: many times what one of ours takes on a busy machine."""

_Planned: TypeAlias = Sequence[tuple[Offer, str]]
"""Components with the names of the checks to make of them, in order."""


def watched_checks(registry: Registry, offers: Sequence[Offer], seconds: float) -> Iterator[CheckResult]:
    """Run the suites of these components; a check that takes longer than this, or ends its process, has failed."""
    left = deque((offer, method) for offer in offers for method in check_names(suite_of(registry, offer)))
    while left:
        process = _Process(registry, tuple(left), seconds)
        try:
            for result in process.results():
                left.popleft()
                yield result
        finally:
            process.end()
        if left:
            offer, method = left.popleft()
            yield CheckResult(offer.kind, offer.component.name, sentence(method), "failed", process.fate())


class _Process:
    """A forked process that makes checks and tells how each ended."""

    def __init__(self, registry: Registry, planned: _Planned, seconds: float) -> None:
        self._seconds = seconds
        self._is_late = False
        self._results, theirs = multiprocessing.Pipe(duplex=False)
        arguments = (os.getpid(), theirs, registry, planned)
        self._process = multiprocessing.get_context("fork").Process(target=_make, args=arguments)
        self._process.start()
        theirs.close()

    def results(self) -> Iterator[CheckResult]:
        """What it tells, until it is done, is gone, or has been silent for too long."""
        while wait([self._results, self._process.sentinel], self._seconds):
            # What it started may hold the pipe open when it is gone.
            if not self._results.poll():
                return
            try:
                yield CheckResult(**json.loads(self._results.recv_bytes()))
            except EOFError:
                return
        self._is_late = True

    def end(self) -> None:
        """Kill it and what it started."""
        assert self._process.pid is not None
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError):
                kill(self._process.pid, signal.SIGKILL)
        self._process.join()
        self._results.close()

    def fate(self) -> str:
        """Why there is no result of the check that it was at."""
        if self._is_late:
            return (
                f"it had not ended after {self._seconds:g} s: find what it waits for, or give it longer with --timeout"
            )
        code = self._process.exitcode or 0
        how = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        return f"it ended the process that it ran in ({how}): raise an exception where something is wrong"


def _make(parent: int, results: Connection, registry: Registry, planned: _Planned) -> None:
    os.setsid()
    die_with(parent)
    # What a component prints must not end up in the report.
    with contextlib.redirect_stdout(sys.stderr):
        for _, checks in groupby(planned, key=lambda check: id(check[0])):
            offers, methods = zip(*checks, strict=True)
            for result in checks_of(registry, offers[0], methods):
                results.send_bytes(json.dumps(dataclasses.asdict(result)).encode())
