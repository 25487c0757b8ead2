"""Drawing completions and scoring them, once and for all: what was drawn is in the journal before anything is learnt from it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ponder.errors import StageError
from ponder.interfaces import Policy, Sampler
from ponder.journal import Journal
from ponder.rollouts import decode_rollouts, encode_rollouts
from ponder.rubric import Rubric, Score
from ponder.types import Completion, Example, Rollout


@dataclass(frozen=True, slots=True)
class Drawn:
    """Completions, in groups of one prompt each, with their scores; `seconds` is empty when they come from the journal."""

    rollouts: Sequence[Rollout]
    scores: Sequence[Score]
    seconds: dict[str, float] = field(default_factory=dict)

    def with_more(self, other: Drawn) -> Drawn:
        """This and another, whose groups are numbered on."""
        groups = 1 + max((rollout.group for rollout in self.rollouts), default=-1)
        added = [replace(rollout, group=groups + rollout.group) for rollout in other.rollouts]
        phases = dict.fromkeys([*self.seconds, *other.seconds])
        seconds = {phase: self.seconds.get(phase, 0.0) + other.seconds.get(phase, 0.0) for phase in phases}
        return Drawn([*self.rollouts, *added], [*self.scores, *other.scores], seconds)


@dataclass(frozen=True, slots=True)
class Drawer:
    """Asks a policy and has its completions scored."""

    policy: Policy
    sampler: Sampler
    rubric: Rubric
    journal: Journal

    def draw(self, key: str, examples: Sequence[Example], group_size: int, seed: int) -> Drawn:
        """`group_size` completions of each example, scored: those of the journal under `key`, or new ones that go there."""
        kept = self.journal.get(key)
        if kept is not None:
            return Drawn(*decode_rollouts(kept))
        started = time.perf_counter()
        rollouts = self._sample(examples, group_size, seed)
        sampled = time.perf_counter()
        scores = self.rubric.score([_as_said(rollout) for rollout in rollouts])
        seconds = {"sample": sampled - started, "score": time.perf_counter() - sampled}
        self.journal.append(key, encode_rollouts(rollouts, scores))
        return Drawn(rollouts, scores, seconds)

    def _sample(self, examples: Sequence[Example], group_size: int, seed: int) -> list[Rollout]:
        answers = self.sampler.sample(self.policy, examples, group_size, seed)
        sizes = {len(group) for group in answers}
        if len(answers) != len(examples) or sizes - {group_size}:
            raise StageError(
                f"the sampler was asked for {group_size} completions of each of {len(examples)} prompts and gave "
                f"{len(answers)} groups of {sorted(sizes)} completions"
            )
        for group in answers:
            for completion in group:
                self._check(completion)
        return [
            Rollout(example, completion, group)
            for group, (example, completions) in enumerate(zip(examples, answers, strict=True))
            for completion in completions
        ]

    def _check(self, completion: Completion) -> None:
        if completion.logprobs and len(completion.logprobs) != len(completion.token_ids):
            raise StageError(
                f"the sampler gave {len(completion.logprobs)} log-probabilities for {len(completion.token_ids)} tokens"
            )
        if completion.kept and len(completion.kept.counts) != len(completion.token_ids):
            raise StageError(
                f"the sampler kept a choice of tokens at {len(completion.kept.counts)} places of {len(completion.token_ids)} tokens"
            )
        # 0 is also what a sampler gives that does not tell versions apart.
        if completion.policy_version not in (0, self.policy.version):
            raise StageError(
                f"the sampler answered with the weights of version {completion.policy_version}, but the policy is at "
                f"{self.policy.version}: a sampler must take over new weights before it samples"
            )


def _as_said(rollout: Rollout) -> Rollout:
    """Without what is recorded for training alone: rewards are computed in other processes."""
    completion = rollout.completion
    if completion.routing is None and completion.kept is None:
        return rollout
    return replace(rollout, completion=replace(completion, routing=None, kept=None))


def check_groups(rollouts: Sequence[Rollout], group_size: int) -> None:
    """A group is exactly `group_size` completions of one example; anything else would be learnt from without a word."""
    members: dict[int, list[Rollout]] = {}
    for rollout in rollouts:
        members.setdefault(rollout.group, []).append(rollout)
    for group, rollouts_of_group in members.items():
        prompts = {repr(rollout.example.prompt) for rollout in rollouts_of_group}
        if len(rollouts_of_group) != group_size or len(prompts) != 1:
            raise StageError(
                f"group {group} holds {len(rollouts_of_group)} completions of {len(prompts)} prompts, not {group_size} of one"
            )
