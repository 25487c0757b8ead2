"""The answers that each step of on-policy distillation learns from: the student's own, and the task's."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ponder import Example, Policy, Rollout, Sampler
from ponder.errors import StageError
from ponder.hf import encode_prompt
from ponder.journal import Journal
from ponder.randomness import derive_seed
from ponder.rollouts import decode_rollouts, encode_rollouts
from ponder_trl.batches import micro_batches
from ponder_trl.conversations import Conversation, read_conversations
from ponder_trl.distillation_config import OnPolicyDistillationConfig
from ponder_trl.drawing import Problems, sample
from ponder_trl.step_trainer import StepBatch

if TYPE_CHECKING:
    from ponder.context import StageContext


@dataclass
class Spent:
    """What the steps so far have cost, in tokens; part of a checkpoint."""

    drawn: int = 0
    """Tokens, prompts included, of the answers that the student gave."""
    read: int = 0
    """Tokens, prompts included, that student and teacher were compared on."""

    def save(self, directory: Path) -> None:
        """See `Checkpointable`."""
        (directory / "spent.json").write_text(json.dumps(asdict(self)), encoding="utf-8")

    def load(self, directory: Path) -> None:
        """See `Checkpointable`."""
        for name, value in json.loads((directory / "spent.json").read_text(encoding="utf-8")).items():
            setattr(self, name, value)


@dataclass
class Answers:
    """The batch of every step; what the student says is in the journal before anything is learnt from it."""

    config: OnPolicyDistillationConfig
    context: StageContext
    student: Policy
    sampler: Sampler
    problems: Problems
    journal: Journal
    spent: Spent
    _drawn: Sequence[Rollout] = ()
    _read: Sequence[Conversation] = ()

    def __call__(self, step: int) -> StepBatch:
        """The batch of this step, 0 the first."""
        config = self.config
        examples = self.problems.of_step(step, config.prompts_per_step)
        own = own_answers(step, config.prompts_per_step, config.on_policy)
        tokenizer = self.student.tokenizer
        given = read_conversations(examples[own:], tokenizer, config.task) if examples[own:] else []
        self._drawn = self._draw(step, examples[:own])
        self._read = [*map(self._conversation, self._drawn), *given]
        rows = [[conversation] for conversation in self._read]
        pad = int(tokenizer.pad_token_id)
        return StepBatch(
            [collate([row[0] for row in part], pad) for part in micro_batches(rows, config.micro_batch_tokens)],
            sum(conversation.learnt for conversation in self._read),
            sum(map(len, self._read)),
        )

    def account(self) -> dict[str, float]:
        """Count the step that was just learnt from, and tell its measures."""
        own, count = self._read[: len(self._drawn)], len(self._drawn)
        self.spent.drawn += sum(map(len, own))
        self.spent.read += sum(map(len, self._read))
        if not own:
            return {}
        truncated = sum(rollout.completion.finish_reason == "length" for rollout in self._drawn)
        return {
            "response_length": sum(conversation.learnt for conversation in own) / count,
            "truncated": truncated / count,
        }

    def _draw(self, step: int, examples: Sequence[Example]) -> list[Rollout]:
        if not examples:
            return []
        kept = self.journal.get(f"step-{step}")
        if kept is not None:
            return decode_rollouts(kept)[0]
        started = time.perf_counter()
        seed = derive_seed(self.context.seed, "rollout", step)
        rollouts = sample(self.sampler, self.student, examples, 1, seed)
        self.context.timing({"seconds/sample": time.perf_counter() - started})
        self.journal.append(f"step-{step}", encode_rollouts(rollouts, []))
        return rollouts

    def _conversation(self, rollout: Rollout) -> Conversation:
        completion, tokenizer = rollout.completion, self.student.tokenizer
        if completion.text and not completion.token_ids:
            raise StageError(
                f"sampler {self.config.sampler!r} gives text without token ids, so that it is not known what the student would "
                "have said next: take a sampler that draws from the policy, such as fast, generate or vllm"
            )
        prompt = encode_prompt(tokenizer, rollout.example.prompt)
        answer = completion.token_ids or (int(tokenizer.eos_token_id),)
        return Conversation(torch.tensor([*prompt, *answer], dtype=torch.int32), len(prompt))


def own_answers(step: int, prompts: int, share: float) -> int:
    """How many of a step's prompts the student answers: over all steps its share, to within one answer."""
    return int((step + 1) * prompts * share) - int(step * prompts * share)


def collate(rows: Sequence[Conversation], pad: int) -> dict[str, Tensor]:
    """Rows as TRL's trainer lays out what it draws itself: prompts end, and answers begin, in the same column."""
    widest_prompt = max(_prompt(row) for row in rows)
    widest_answer = max(row.learnt for row in rows)
    shape = (len(rows), widest_prompt + widest_answer)
    ids = torch.full(shape, pad, dtype=torch.long)
    mask = torch.zeros(shape, dtype=torch.long)
    for place, row in enumerate(rows):
        start = widest_prompt - _prompt(row)
        ids[place, start : start + len(row)] = row.tokens
        mask[place, start : start + len(row)] = 1
    return {
        "prompt_ids": ids[:, :widest_prompt],
        "prompt_mask": mask[:, :widest_prompt],
        "completion_ids": ids[:, widest_prompt:],
        "completion_mask": mask[:, widest_prompt:],
    }


def _prompt(row: Conversation) -> int:
    """Tokens that are read before the first that is learnt."""
    return len(row) - row.learnt
