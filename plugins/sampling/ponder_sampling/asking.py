"""Many requests at once, whose answers are kept as they come."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from ponder.threads import results
from ponder_sampling.server_requests import ServerAway

T = TypeVar("T")


def ask_all(jobs: Sequence[T], ask: Callable[[T], Any], at_once: int) -> Iterator[tuple[T, Any]]:
    """Each job with its answer, in the order in which they come.

    When the server goes away the requests under way are ended first, so that no answer is lost, and no new one is made.

    Raises:
        ServerAway: the first that a request met, after all answers were given.
        Exception: whatever else a request raised, at once.
    """
    stopped = threading.Event()
    away: ServerAway | None = None

    def answer(job: T) -> Any:
        try:
            return ask(job)
        except ServerAway as problem:
            stopped.set()
            return problem

    for job, answered in results(jobs, answer, at_once, stopped):
        if isinstance(answered, ServerAway):
            away = away or answered
        else:
            yield job, answered
    if away is not None:
        raise away
