"""Rewards for length: `length`, `cosine_length` and `soft_overlong`, and what is counted."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ponder import Completion, Example, Rollout
from ponder.workers import Limits, WorkerPool
from ponder_rewards import AccuracyConfig
from ponder_rewards.accuracy import Accuracy
from ponder_rewards.options import CosineLengthConfig, LengthConfig, LengthUnit, SoftOverlongConfig
from ponder_rewards.pieces import words_of


def length_of(completion: Completion, unit: LengthUnit) -> int | None:
    """How long a completion is; None in tokens when it has text but nobody knows of how many."""
    if unit == "characters":
        return len(completion.text)
    if unit == "words":
        return len(words_of(completion.text))
    return completion.length if completion.length or not completion.text else None


class SoftOverlong:
    """DAPO's soft overlong punishment, in [-1, 0], on the tokens of the completion.

    0 up to `max_length - buffer`, from there falling in a straight line to -1 at `max_length`, and -1 beyond. Abstains on a completion whose
    token ids are not known. Source: DAPO, equation 13, with L_max = 20,480 and L_cache = 4,096.
    """

    def __init__(self, config: SoftOverlongConfig) -> None:
        self._longest = config.max_length
        self._buffer = config.buffer

    def __call__(self, example: Example, completion: Completion) -> float | None:
        length = length_of(completion, "tokens")
        if length is None:
            return None
        over = length - (self._longest - self._buffer)
        if over <= 0:
            return 0.0
        return -1.0 if length > self._longest else -over / self._buffer


class CosineLength:
    """A score on half a cosine of the length, from one value to another, other ones for right and for wrong answers.

    With s the score at length 0, l the one at `max_length` and t the share of `max_length`: l + (s - l) (1 + cos(pi t)) / 2. From `max_length`
    on it is `exceeded`. By default in [0.5, 1] for right answers and [-1, -0.5] for wrong ones. Whether the answer is right is
    what the reward `accuracy` says by its default options; where that abstains, because the example has no answer or an
    unreadable one, so does this, and where the token ids are needed and not known. Source: Yeo et al. 2025 (Demystifying Long
    Chain-of-Thought Reasoning), section 4; the default values are those of open-r1.
    """

    def __init__(self, config: CosineLengthConfig) -> None:
        self._config = config
        self._accuracy = Accuracy(AccuracyConfig())

    def warm_up(self) -> None:
        """Load what tells whether an answer is right."""
        self._accuracy.warm_up()

    def __call__(self, example: Example, completion: Completion) -> float | None:
        config = self._config
        length = length_of(completion, config.unit)
        correct = self._accuracy(example, completion)
        if length is None or correct is None:
            return None
        if length >= config.max_length:
            return config.exceeded
        short, long = (
            (config.correct_short, config.correct_long) if correct == 1.0 else (config.wrong_short, config.wrong_long)
        )
        return long + (short - long) * (1 + math.cos(math.pi * length / config.max_length)) / 2


class Length:
    """Shorter than the rest of its group is better: 0.5 - (length - shortest) / (longest - shortest), in [-0.5, 0.5].

    A wrong answer gets the lower of that and 0, so that short and wrong pays nothing. All are 0 in a group of one length. Whether
    an answer is right is what the reward `accuracy` says by its default options, in worker processes of this reward's own;
    where that abstains, so does this, and the completion does not count among its group's lengths. Source: Kimi k1.5, section
    2.3.3 (length penalty).
    """

    def __init__(self, config: LengthConfig) -> None:
        self._unit = config.unit
        self._pool: WorkerPool | None = None

    def __getstate__(self) -> dict[str, object]:
        return {"_unit": self._unit, "_pool": None}

    def score(self, rollouts: Sequence[Rollout]) -> list[float | None]:
        """See `BatchReward`."""
        correct = self._correct(rollouts)
        groups: dict[int, list[int]] = {}
        for place, rollout in enumerate(rollouts):
            if correct[place] is not None:
                groups.setdefault(rollout.group, []).append(place)
        scores: list[float | None] = [None] * len(rollouts)
        for places in groups.values():
            lengths = self._lengths([rollouts[place].completion for place in places])
            shortest, spread = min(lengths), max(lengths) - min(lengths)
            for place, length in zip(places, lengths, strict=True):
                score = 0.5 - (length - shortest) / spread if spread else 0.0
                scores[place] = score if correct[place] == 1.0 else min(0.0, score)
        return scores

    def _lengths(self, completions: Sequence[Completion]) -> list[int]:
        counted = [length_of(completion, self._unit) for completion in completions]
        if None in counted:
            return [len(completion.text) for completion in completions]
        return [length for length in counted if length is not None]

    def _correct(self, rollouts: Sequence[Rollout]) -> list[float | None]:
        # What a model wrote is read in processes that can be killed, here as in a Rubric.
        if self._pool is None:
            self._pool = WorkerPool({"accuracy": Accuracy(AccuracyConfig())}, Limits())
        return [row[0].value for row in self._pool.score(rollouts)]
