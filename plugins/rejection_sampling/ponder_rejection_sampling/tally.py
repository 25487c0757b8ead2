"""Sums over everything that was drawn."""

from __future__ import annotations

from collections.abc import Sequence

from ponder_rejection_sampling.drawing import Chunk


class Tally:
    """Tokens and scores of the chunks so far; `judge` is the reward that decides what is correct."""

    def __init__(self, rewards: Sequence[str]) -> None:
        self._scores = dict.fromkeys(rewards, (0.0, 0))
        self.tokens = 0
        """Generated tokens."""
        self.prompt_tokens = 0
        """Tokens of the prompts, each read once."""
        self.completions = 0

    def add(self, chunk: Chunk) -> None:
        """Count a chunk."""
        self.prompt_tokens += chunk.prompt_tokens
        for one in (one for row in chunk.drawn for one in row):
            self.completions += 1
            self.tokens += one.tokens
            for name, score in one.scores.items():
                if score is not None:
                    total, count = self._scores[name]
                    self._scores[name] = (total + score, count + 1)

    def unscored(self, reward: str) -> int:
        """Completions to which this reward gave no score."""
        return self.completions - self._scores[reward][1]

    def rewards(self) -> dict[str, float]:
        """The mean of each reward over the completions that it scored."""
        return {f"rewards/{name}": total / count for name, (total, count) in self._scores.items() if count}
