"""Text and values while they are made: characters that are whole, and work in a thread that tells what it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from threading import Event
from typing import TYPE_CHECKING, TypeVar

from ponder_sampling.completions import decode_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

T = TypeVar("T")
Tell = Callable[[T], None]

_UNFINISHED = "\ufffd"
"""What a tokenizer puts for bytes that are no character, or not yet."""


class GrowingText:
    """Turns tokens that become more into pieces of text that, joined, are the completion's text.

    Only the tokens since the last whole character but one piece are decoded, so that a long text costs time linear in its length.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prefilled: str) -> None:
        self._tokenizer = tokenizer
        self._prefilled = prefilled
        self._told = 0
        self._start = 0
        self._end = 0

    def piece(self, tokens: Sequence[int]) -> Iterator[str]:
        """What is new and whole in the text of `tokens`, if anything is."""
        if not self._told and self._prefilled:
            yield self._tell(self._prefilled)
        # A token may be written in another way at the beginning of a text, so the last piece's tokens are decoded again.
        before, now = decode_rows(self._tokenizer, [tokens[self._start : self._end], tokens[self._start :]])
        if len(now) > len(before) and not now.endswith(_UNFINISHED):
            self._start, self._end = self._end, len(tokens)
            yield self._tell(now[len(before) :])

    def rest(self, text: str) -> Iterator[str]:
        """What of the whole text has not been told."""
        if text[self._told :]:
            yield self._tell(text[self._told :])

    def _tell(self, piece: str) -> str:
        self._told += len(piece)
        return piece


class _AbandonedError(Exception):
    """Nobody listens any more."""


def in_background(work: Callable[[Tell[T]], object]) -> Iterator[T]:
    """What `work` tells, while it runs in a thread of its own; it ends at its next telling when the iterator is closed.

    Raises what `work` raises.
    """
    told: SimpleQueue[T | Future[object]] = SimpleQueue()
    is_abandoned = Event()

    def tell(value: T) -> None:
        if is_abandoned.is_set():
            raise _AbandonedError
        told.put(value)

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(work, tell)
        running.add_done_callback(told.put)
        try:
            while not isinstance(value := told.get(), Future):
                yield value
            value.result()
        finally:
            is_abandoned.set()
