"""Reward `repetition`."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from ponder import Completion, Example
from ponder_rewards.options import RepetitionConfig
from ponder_rewards.pieces import pieces_of


class Repetition:
    """Minus the share of the completion's n-grams that repeat an earlier one: 0 for no repetition, always above -1.

    The score is -(1 - different n-grams / all n-grams), and 0 where there is no n-gram. Words are runs of letters and digits, in any
    case; other visible characters, and each character of Chinese and Japanese, count by themselves. The first 300,000
    characters and 65,536 words are read. Abstains with `unit: tokens` on a completion whose token ids are not known. Source: Yeo et al. 2025
    (Demystifying Long Chain-of-Thought Reasoning), appendix C.2, as a score of the whole completion.
    """

    def __init__(self, config: RepetitionConfig) -> None:
        self._size = config.ngram
        self._by_tokens = config.unit == "tokens"

    def __call__(self, example: Example, completion: Completion) -> float | None:
        if self._by_tokens and completion.text and not completion.token_ids:
            return None
        pieces: Sequence[Hashable] = (
            completion.token_ids if self._by_tokens else [piece.casefold() for piece in pieces_of(completion.text)]
        )
        total = len(pieces) - self._size + 1
        if total < 2:
            return 0.0
        different = len(set(zip(*(pieces[start:] for start in range(self._size)), strict=False)))
        return different / total - 1
