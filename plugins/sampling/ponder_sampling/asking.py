"""Many requests at once, whose answers are kept as they come."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from ponder_sampling.server_requests import ServerAway

T = TypeVar("T")


def ask_all(jobs: Sequence[T], ask: Callable[[T], Any], at_once: int) -> Iterator[tuple[T, Any]]:
    """Each job with its answer, in the order in which they come.

    When the server goes away the requests under way are ended first, so that no answer is lost, and no new one is made.
    Threads are daemons, because one that waits for an answer must not keep a run from stopping.

    Raises:
        ServerAway: the first that a request met, after all answers were given.
        Exception: whatever else a request raised, at once.
    """
    waiting: queue.SimpleQueue[T] = queue.SimpleQueue()
    results: queue.SimpleQueue[tuple[T, Any] | BaseException | None] = queue.SimpleQueue()
    stopped = threading.Event()
    for job in jobs:
        waiting.put(job)
    workers = min(at_once, len(jobs))
    for _ in range(workers):
        threading.Thread(target=_work, args=(waiting, results, stopped, ask), daemon=True).start()
    away: ServerAway | None = None
    try:
        while workers:
            result = results.get()
            if result is None:
                workers -= 1
            elif isinstance(result, ServerAway):
                away = away or result
            elif isinstance(result, BaseException):
                raise result
            else:
                yield result
    finally:
        stopped.set()
    if away is not None:
        raise away


def _work(
    waiting: queue.SimpleQueue[Any], results: queue.SimpleQueue[Any], stopped: threading.Event, ask: Callable[..., Any]
) -> None:
    try:
        while not stopped.is_set():
            job = waiting.get_nowait()
            results.put((job, ask(job)))
    except queue.Empty:
        pass
    except Exception as error:
        stopped.set()
        results.put(error)
    finally:
        results.put(None)
