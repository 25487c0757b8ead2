"""What ponder does for TRL's GRPO trainer: draw completions, score them, and keep what an interrupted step had left over."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from ponder import Completion, Example, Policy, Rollout, Sampler
from ponder.errors import InputError, StageError
from ponder.hf import encode_prompt
from ponder.journal import Journal
from ponder.metrics import statistics_of
from ponder.randomness import derive_seed, permutation
from ponder.rollouts import decode_rollouts, encode_rollouts
from ponder.rubric import Rubric, Score
from ponder_trl.grpo_config import TrlGrpoConfig

if TYPE_CHECKING:
    from ponder.context import StageContext


@dataclass(frozen=True)
class Problems:
    """A task's examples in endless reshuffled epochs; which ones a step asks about depends on the seed and the step alone."""

    examples: Sequence[Example]
    seed: int

    def of_step(self, step: int, count: int) -> list[Example]:
        """The `count` examples of a step, counted from 0."""
        length = len(self.examples)
        places = [divmod(step * count + offset, length) for offset in range(count)]
        orders = {epoch: permutation(length, self.seed, "prompts", "epoch", epoch) for epoch, _ in places}
        return [self.examples[orders[epoch][place]] for epoch, place in places]


def load_examples(context: StageContext, task: str, prompts_per_step: int) -> list[Example]:
    """All examples of the task, refused when they cannot fill a step or one of them asks nothing."""
    examples = list(context.task(task).examples())
    if len(examples) < prompts_per_step:
        raise InputError(
            f"task {task!r} has {len(examples)} examples, but a step takes {prompts_per_step} different ones: "
            "give it more, or lower prompts_per_step"
        )
    empty = [number for number, example in enumerate(examples, start=1) if not example.prompt]
    if empty:
        shown = ", ".join(map(str, empty[:5]))
        raise InputError(f"task {task!r}: {len(empty)} of {len(examples)} examples have an empty prompt (row {shown})")
    return examples


def sample(sampler: Sampler, policy: Policy, examples: Sequence[Example], size: int, seed: int) -> list[Rollout]:
    """`size` completions of each example, group by group.

    Raises:
        StageError: the sampler gives another number of completions.
    """
    groups = sampler.sample(policy, examples, size, seed)
    if len(groups) != len(examples) or any(len(group) != size for group in groups):
        raise StageError(
            f"the sampler was asked for {size} completions of each of {len(examples)} prompts and gave {len(groups)} groups of "
            f"{sorted({len(group) for group in groups})} completions"
        )
    return [
        Rollout(example, completion, number)
        for number, (example, group) in enumerate(zip(examples, groups, strict=True))
        for completion in group
    ]


@dataclass(frozen=True)
class Drawer:
    """Draws a step's completions and scores them, once and for all: they are in the journal before anything is learnt from them."""

    config: TrlGrpoConfig
    context: StageContext
    policy: Policy
    sampler: Sampler
    rubric: Rubric
    journal: Journal
    problems: Problems

    def draw(self, step: int) -> tuple[list[Rollout], list[Score]]:
        """The completions of a step, group by group, and the score of each."""
        kept = self.journal.get(f"step-{step}")
        if kept is not None:
            return decode_rollouts(kept)
        started = time.perf_counter()
        rollouts = self._sample(step)
        sampled = time.perf_counter()
        scores = self.rubric.score(rollouts)
        seconds = {"seconds/sample": sampled - started, "seconds/score": time.perf_counter() - sampled}
        self.context.timing({**seconds, **statistics_of(self.rubric)})
        self.journal.append(f"step-{step}", encode_rollouts(rollouts, scores))
        return rollouts, scores

    def _sample(self, step: int) -> list[Rollout]:
        examples = self.problems.of_step(step, self.config.prompts_per_step)
        seed = derive_seed(self.context.seed, "rollout", step)
        return sample(self.sampler, self.policy, examples, self.config.group_size, seed)


@dataclass
class Draws:
    """The completions that a trainer is learning from, between its updates; also their part of a checkpoint."""

    drawer: Drawer
    updates_per_step: int
    start: int = 0
    """The update that the trainer began with."""
    trainer: Any = None
    tokens: int = 0
    """Tokens, prompts included, of all completions so far."""
    measures: dict[str, float] = field(default_factory=dict)
    """Of completions that have been drawn since the last update was reported."""
    _left_over: list[dict[str, Tensor]] = field(default_factory=list)

    def give(self, prompts: Sequence[str], trainer: Any) -> dict[str, list[Any]]:
        """Token ids, log-probabilities and scores of the completions of the trainer's current step (its `rollout_func`)."""
        rollouts, scores = self.drawer.draw((self.start + trainer.state.global_step) // self.updates_per_step)
        self.measures = self.drawer.rubric.metrics(scores)
        tokenizer = self.drawer.policy.tokenizer
        size = self.drawer.config.group_size
        encoded = [encode_prompt(tokenizer, rollout.example.prompt) for rollout in rollouts[::size]]
        prompt_ids = [ids for ids in encoded for _ in range(size)]
        completions = [rollout.completion for rollout in rollouts]
        completion_ids = [list(completion.token_ids) or [int(tokenizer.eos_token_id)] for completion in completions]
        self.tokens += sum(map(len, prompt_ids)) + sum(map(len, completion_ids))
        return {
            "prompt_ids": prompt_ids,
            "completion_ids": completion_ids,
            "logprobs": _logprobs(completions),  # type: ignore[dict-item]
            "score": [score.total for score in scores],
        }

    def attach(self, trainer: Any, start: int) -> None:
        """Take on a trainer that begins with the update `start`, and give it what the one before had left over."""
        self.trainer, self.start = trainer, start
        if self._left_over:
            trainer._buffered_inputs = self._left_over
            trainer._step = start % self.updates_per_step * trainer.args.gradient_accumulation_steps

    def save(self, directory: Path) -> None:
        """See `Checkpointable`."""
        (directory / "draws.json").write_text(json.dumps({"tokens": self.tokens}), encoding="utf-8")
        tensors = {
            f"{place}.{name}": value.clone()  # the parts are views of one batch, which safetensors refuses
            for place, part in enumerate(self._unused())
            for name, value in part.items()
            if isinstance(value, Tensor)
        }
        save_file(tensors, directory / "draws.safetensors")

    def _unused(self) -> Sequence[Mapping[str, Any]]:
        """The inputs of updates that are still to be made from completions that have been drawn."""
        if self.trainer is None:
            return self._left_over
        arguments = self.trainer.args
        is_done = self.trainer._step % (arguments.gradient_accumulation_steps * self.updates_per_step) == 0
        return [] if is_done else self.trainer._buffered_inputs

    def load(self, directory: Path) -> None:
        """See `Checkpointable`."""
        self.tokens = json.loads((directory / "draws.json").read_text(encoding="utf-8"))["tokens"]
        parts: dict[int, dict[str, Tensor]] = {}
        for name, value in load_file(directory / "draws.safetensors").items():
            place, _, key = name.partition(".")
            parts.setdefault(int(place), {})[key] = value
        self._left_over = [parts[place] for place in sorted(parts)]


def _logprobs(completions: Sequence[Completion]) -> list[list[float]] | None:
    """None when the sampler gave none to some completion: TRL wants all or nothing."""
    if any(
        len(completion.logprobs) != len(completion.token_ids) or not completion.token_ids for completion in completions
    ):
        return None
    return [list(completion.logprobs) for completion in completions]


def measures_of(logs: Mapping[str, float | None]) -> dict[str, float]:
    """What TRL logs of an update that is a function of the recipe, under the names of the stage `grpo`."""
    return {ours: float(value) for theirs, ours in _NAMES.items() if (value := logs.get(theirs)) is not None}


_NAMES = {
    "loss": "loss",
    "completions/mean_length": "response_length",
    "completions/clipped_ratio": "truncated",
    "frac_reward_zero_std": "groups_without_signal",
    "reward_std": "reward_std",
    "entropy": "entropy",
    "kl": "kl",
    "clip_ratio/region_mean": "clip_fraction",
}
