"""From scored rollouts to the rows of an update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ponder.errors import StageError
from ponder.hf import encode_prompt
from ponder.rubric import Score
from ponder.types import Rollout, Routing
from ponder_grpo.advantages import group_advantages, tied_groups
from ponder_grpo.config import GrpoConfig
from ponder_grpo.rollouts import check_groups
from ponder_grpo.rows import Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of a step that count, and numbers about all that was drawn.

    `groups_without_signal` is the share of the groups that teach nothing; `overlong_penalty` the mean of what was added to the
    scores for length, where that is asked for.
    """

    rows: list[Row]
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Groups:
    """Completions in the order of their groups, with [groups, group size] scores and which of them count."""

    rollouts: list[Rollout]
    rewards: Tensor
    counted: Tensor


def make_batch(
    rollouts: Sequence[Rollout],
    scores: Sequence[Score],
    tokenizer: PreTrainedTokenizerBase,
    config: GrpoConfig,
    max_tokens: int = 0,
) -> Batch:
    """Rows with advantages, in groups; a completion without a score, or cut off under `truncated: mask`, is left out.

    Of more than `prompts_per_step` groups those are taken whose scores differ, and others only to fill up. A row's group is
    the group's place among those taken. `max_tokens` is the sampler's length limit, for `truncated: penalise`.
    """
    groups = _in_groups(rollouts, scores, config)
    taken = _taken(tied_groups(groups.rewards, groups.counted), config.prompts_per_step)
    penalties = _penalties(groups.rollouts, config, max_tokens)
    rewards = groups.rewards + penalties.view(groups.rewards.shape)
    advantages = group_advantages(rewards, groups.counted, config.advantage)
    tied = tied_groups(rewards, groups.counted)
    size = config.group_size
    members = [rollout for group in taken for rollout in groups.rollouts[group * size : (group + 1) * size]]
    rows = _rows(members, groups.counted[taken].flatten(), advantages[taken].flatten(), tokenizer, config)
    metrics = {"groups_without_signal": float(tied.double().mean())}
    if config.truncated == "penalise":
        metrics["overlong_penalty"] = float(penalties.mean())
    return Batch(rows, metrics)


def count_teaching(rollouts: Sequence[Rollout], scores: Sequence[Score], config: GrpoConfig) -> int:
    """Groups whose completions do not all score the same; what truncation costs is no difference (DAPO, equation 11)."""
    groups = _in_groups(rollouts, scores, config)
    return int((~tied_groups(groups.rewards, groups.counted)).sum())


def overlong_penalty(length: int, limit: int, buffer: int) -> float:
    """0 up to `limit - buffer` tokens, falling to -1 at the limit (DAPO, equation 13)."""
    return -min(1.0, max(0, length - (limit - buffer)) / buffer)


def _in_groups(rollouts: Sequence[Rollout], scores: Sequence[Score], config: GrpoConfig) -> _Groups:
    check_groups(rollouts, config.group_size)
    order = sorted(range(len(rollouts)), key=lambda index: rollouts[index].group)
    counted = torch.tensor([_counts(rollouts[index], scores[index], config) for index in order])
    rewards = torch.tensor([scores[index].total or 0.0 for index in order], dtype=torch.float64)
    shape = (-1, config.group_size)
    return _Groups([rollouts[index] for index in order], rewards.view(shape), counted.view(shape))


def _counts(rollout: Rollout, score: Score, config: GrpoConfig) -> bool:
    is_cut_off = rollout.completion.finish_reason == "length"
    return score.total is not None and not (config.truncated == "mask" and is_cut_off)


def _taken(tied: Tensor, count: int) -> list[int]:
    """`count` places in order, of groups that are not tied before groups that are."""
    by_use = sorted(range(len(tied)), key=lambda place: bool(tied[place]))
    return sorted(by_use[:count])


def _penalties(rollouts: Sequence[Rollout], config: GrpoConfig, max_tokens: int) -> Tensor:
    """What is added to each completion's score for its length; 0 without `truncated: penalise`."""
    if config.truncated != "penalise":
        return torch.zeros(len(rollouts), dtype=torch.float64)
    lengths = [len(rollout.completion.token_ids) for rollout in rollouts]
    penalties = [overlong_penalty(length, max_tokens, config.overlong_buffer) for length in lengths]
    return torch.tensor(penalties, dtype=torch.float64)


def _rows(
    rollouts: Sequence[Rollout],
    counted: Tensor,
    advantages: Tensor,
    tokenizer: PreTrainedTokenizerBase,
    config: GrpoConfig,
) -> list[Row]:
    group_size = config.group_size
    prompts = [encode_prompt(tokenizer, rollout.example.prompt) for rollout in rollouts[::group_size]]
    return [
        Row(
            index=index,
            group=index // group_size,
            prompt=prompts[index // group_size],
            completion=rollout.completion.token_ids,
            advantage=float(advantages[index]),
            sampled_logprobs=_sampled_logprobs(rollout, config),
            routing=_routing(rollout, len(prompts[index // group_size]), config),
            kept=rollout.completion.kept if config.keep_sampling_mask else None,
        )
        for index, rollout in enumerate(rollouts)
        if counted[index]
    ]


def _sampled_logprobs(rollout: Rollout, config: GrpoConfig) -> Sequence[float] | None:
    """None when the sampler gave none; nothing for an empty completion is all there is to give."""
    completion = rollout.completion
    if not completion.logprobs:
        return None if completion.token_ids else completion.logprobs
    if completion.kept is None or not config.keep_sampling_mask:
        return completion.logprobs
    # Among the tokens that were kept, each is likelier by what these had together.
    return [value - kept for value, kept in zip(completion.logprobs, completion.kept.logprobs, strict=True)]


def _routing(rollout: Rollout, prompt: int, config: GrpoConfig) -> Routing | None:
    """The completion's routing, checked against its number of tokens and that of its prompt."""
    completion, routing = rollout.completion, rollout.completion.routing
    if not completion.token_ids:
        return None
    if routing is None:
        if config.router_replay:
            raise StageError(
                "router_replay: the sampler gave a completion without the experts that worked on its tokens"
            )
        return None
    tokens = prompt + len(completion.token_ids) - 1
    if len(routing.experts) != tokens * routing.layers * routing.chosen * routing.width:
        raise StageError(
            f"the sampler recorded {len(routing.experts)} bytes of experts for {tokens} tokens, {routing.layers} layers, "
            f"{routing.chosen} experts of {routing.width} bytes each: they are not of this prompt and completion"
        )
    return routing
