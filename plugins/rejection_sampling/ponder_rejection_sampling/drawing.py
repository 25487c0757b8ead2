"""Draws completions chunk by chunk and keeps each chunk in the journal, so that nothing is asked or scored twice."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

from ponder import Completion, Example, Policy, Rollout, Sampler
from ponder.errors import PonderError, StageError
from ponder.hf import encode_prompt
from ponder.metrics import statistics_of
from ponder.randomness import derive_seed
from ponder.rubric import Score
from ponder.text import with_prefill

if TYPE_CHECKING:
    from ponder.context import StageContext
    from ponder.rubric import Rubric
    from ponder_rejection_sampling import RejectionSamplingConfig


@dataclass(frozen=True, slots=True)
class Drawn:
    """One completion and what the rewards said about it."""

    text: str
    """What the policy said, an opened `<think>` of its prompt included, without surrounding whitespace."""
    tokens: int
    finished: bool
    """Whether it ended by itself, below the length limit."""
    scores: Mapping[str, float | None]
    """By reward; None where it abstained or failed."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """The completions of some prompts that were drawn at once."""

    seed: int
    """What the sampler was given."""
    prompt_tokens: int
    """Tokens of the prompts, each read once."""
    drawn: Sequence[Sequence[Drawn]]
    """For each prompt its completions, in the sampler's order."""

    @property
    def tokens(self) -> int:
        """Generated tokens."""
        return sum(one.tokens for completions in self.drawn for one in completions)


class Drawer:
    """Puts prompts to the policy and the completions to the rewards, each chunk once."""

    def __init__(
        self, context: StageContext, config: RejectionSamplingConfig, rubric: Rubric, policy: Policy | None
    ) -> None:
        self._context = context
        self._config = config
        self._policy = policy
        self.sampler: Sampler = context.sampler(config.sampler)
        self._rubric = rubric
        self._journal = context.journal()

    def draw(self, index: int, first: int, examples: Sequence[Example]) -> Chunk:
        """Chunk `index`, whose first prompt is the task's number `first`."""
        key = f"chunk-{index}"
        kept = self._journal.get(key)
        if kept is not None:
            return _decode(kept)
        started = time.perf_counter()
        chunk = self._drawn(index, first, examples)
        self._journal.append(key, asdict(chunk))
        speed = {"tokens_per_second": chunk.tokens / (time.perf_counter() - started)}
        self._context.timing({**speed, **statistics_of(self.sampler), **statistics_of(self._rubric)}, index)
        return chunk

    def _drawn(self, index: int, first: int, examples: Sequence[Example]) -> Chunk:
        seed = derive_seed(self._context.seed, "chunk", index)
        completions = self._sample(first, examples, seed)
        rollouts = [
            Rollout(example, completion, first + offset)
            for offset, example in enumerate(examples)
            for completion in completions[offset]
        ]
        scored = map(_drawn_one, rollouts, self._rubric.score(rollouts))
        return Chunk(seed, self._read(examples), [[next(scored) for _ in row] for row in completions])

    def _read(self, examples: Sequence[Example]) -> int:
        """Tokens of the prompts; 0 for a model that is not ours."""
        policy = self._policy
        return (
            0 if policy is None else sum(len(encode_prompt(policy.tokenizer, example.prompt)) for example in examples)
        )

    def _sample(self, first: int, examples: Sequence[Example], seed: int) -> Sequence[Sequence[Completion]]:
        count = self._config.per_prompt
        try:
            # Without a policy there is only a sampler that does without one: recipes with another are refused.
            completions = self.sampler.sample(cast("Policy", self._policy), examples, count, seed)
        except PonderError:
            raise
        except Exception as error:
            raise StageError(self._how_it_died(first, len(examples), error)) from error
        if len(completions) != len(examples) or any(len(row) != count for row in completions):
            raise StageError(
                f"stage {self._context.name!r}: the sampler was asked for {count} completions of each of {len(examples)} "
                f"prompts and returned {[len(row) for row in completions]}"
            )
        return completions

    def _how_it_died(self, first: int, size: int, error: Exception) -> str:
        config = self._config
        return (
            f"stage {self._context.name!r}: the sampler {config.sampler!r} failed on prompts {first:,} to {first + size - 1:,} of "
            f"task {config.task!r}: {type(error).__name__}: {error}. The {first * config.per_prompt:,} completions of the "
            f"{first:,} prompts before are kept; the same command continues there"
        )


def _drawn_one(rollout: Rollout, score: Score) -> Drawn:
    completion = rollout.completion
    return Drawn(
        text=with_prefill(rollout.example, completion.text).strip(),
        tokens=completion.length,
        finished=completion.finish_reason == "stop",
        scores=dict(score.parts),
    )


def _decode(value: Mapping[str, Any]) -> Chunk:
    return Chunk(**{**value, "drawn": [[Drawn(**one) for one in row] for row in value["drawn"]]})
