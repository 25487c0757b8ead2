"""Many jobs at once, whose results are given as they come, and which do not keep the program from ending."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_LOOK: Final = 0.2
"""Seconds between two looks at whether to wait on."""


def results(
    jobs: Sequence[T],
    do: Callable[[T], R],
    at_once: int,
    stopped: threading.Event,
    patient: Callable[[], bool] = lambda: True,
) -> Iterator[tuple[T, R]]:
    """Each job with its result, in the order in which they come; no job is begun once `stopped` is set, which leaving sets.

    It ends when no job is under way any more, or as soon as `patient`, asked several times a second, says no. Threads are
    daemons, because one that waits for an answer must not keep a run from stopping.

    Raises:
        Exception: what a job raised, at once.
    """
    waiting: queue.SimpleQueue[T] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[T, R] | Exception | None] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    workers = min(at_once, len(jobs))
    for _ in range(workers):
        threading.Thread(target=_work, args=(waiting, done, stopped, do), daemon=True).start()
    try:
        while workers and patient():
            try:
                result = done.get(timeout=_LOOK)
            except queue.Empty:
                continue
            if result is None:
                workers -= 1
            elif isinstance(result, Exception):
                raise result
            else:
                yield result
    finally:
        stopped.set()


def _work(
    waiting: queue.SimpleQueue[Any], done: queue.SimpleQueue[Any], stopped: threading.Event, do: Callable[[Any], Any]
) -> None:
    try:
        while not stopped.is_set():
            job = waiting.get_nowait()
            done.put((job, do(job)))
    except queue.Empty:
        pass
    except Exception as error:
        stopped.set()
        done.put(error)
    finally:
        done.put(None)
