"""From scored rollouts to the rows of an update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ponder.hf import encode_prompt
from ponder.rubric import Score
from ponder.types import Rollout
from ponder_grpo.advantages import group_advantages, tied_groups
from ponder_grpo.config import GrpoConfig
from ponder_grpo.rollouts import check_groups
from ponder_grpo.rows import Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of a step that count, and the share of its groups that teach nothing."""

    rows: list[Row]
    tied_share: float


def make_batch(
    rollouts: Sequence[Rollout], scores: Sequence[Score], tokenizer: PreTrainedTokenizerBase, config: GrpoConfig
) -> Batch:
    """Rows with advantages, in groups; a completion without a score, or cut off under `mask_truncated`, is left out.

    A row's group is the group's place among the step's.
    """
    check_groups(rollouts, config.group_size)
    order = sorted(range(len(rollouts)), key=lambda index: rollouts[index].group)
    counted = torch.tensor([_counts(rollouts[index], scores[index], config) for index in order])
    rewards = torch.tensor([scores[index].total or 0.0 for index in order], dtype=torch.float64)
    shape = (-1, config.group_size)
    advantages = group_advantages(rewards.view(shape), counted.view(shape), config.advantage).flatten()
    rows = _rows([rollouts[index] for index in order], counted, advantages, tokenizer, config.group_size)
    tied = tied_groups(rewards.view(shape), counted.view(shape))
    return Batch(rows, float(tied.double().mean()))


def _counts(rollout: Rollout, score: Score, config: GrpoConfig) -> bool:
    is_cut_off = rollout.completion.finish_reason == "length"
    return score.total is not None and not (config.mask_truncated and is_cut_off)


def _rows(
    rollouts: Sequence[Rollout],
    counted: Tensor,
    advantages: Tensor,
    tokenizer: PreTrainedTokenizerBase,
    group_size: int,
) -> list[Row]:
    prompts = [encode_prompt(tokenizer, rollout.example.prompt) for rollout in rollouts[::group_size]]
    return [
        Row(
            index=index,
            group=index // group_size,
            prompt=prompts[index // group_size],
            completion=rollout.completion.token_ids,
            advantage=float(advantages[index]),
            sampled_logprobs=_sampled_logprobs(rollout),
        )
        for index, rollout in enumerate(rollouts)
        if counted[index]
    ]


def _sampled_logprobs(rollout: Rollout) -> Sequence[float] | None:
    """None when the sampler gave none; nothing for an empty completion is all there is to give."""
    completion = rollout.completion
    return completion.logprobs if completion.logprobs or not completion.token_ids else None
