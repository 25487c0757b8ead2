"""Advantages: how much better than its group a completion was."""

from __future__ import annotations

import torch
from torch import Tensor

from ponder_grpo.config import AdvantageName

TIE = 1e-9
"""Scores of a group that lie closer together than this, relative to their size, are the same score summed in another order."""


def group_advantages(rewards: Tensor, scored: Tensor, kind: AdvantageName) -> Tensor:
    """A_i = (r_i - mean(r)) / std(r) over the scored completions of each group (DeepSeekMath, section 4.1.2).

    `rewards` and `scored` are [groups, group size]; so is the result, in float64. The papers do not say which standard
    deviation is meant: "group" divides by the population's, "group_sample_std" by the sample's (as TRL), "mean" does not
    divide (Dr. GRPO, equation 3; DeepSeek-V3.2, section 3.1). A tied group gets exactly 0, and so does an unscored completion.
    """
    values = torch.where(scored, rewards.double(), 0.0)
    count = scored.sum(1, keepdim=True)
    centred = torch.where(scored, values - values.sum(1, keepdim=True) / count.clamp(min=1), 0.0)
    advantages = centred if kind == "mean" else centred / _deviation(centred, count, kind)
    return torch.where(tied_groups(rewards, scored)[:, None], 0.0, advantages)


def tied_groups(rewards: Tensor, scored: Tensor) -> Tensor:
    """Which groups have nothing to learn from: all their scored completions score the same. [groups, size] -> [groups], bool."""
    values = rewards.double()
    highest = values.masked_fill(~scored, -torch.inf).amax(1)
    lowest = values.masked_fill(~scored, torch.inf).amin(1)
    size = torch.maximum(highest.abs(), lowest.abs()).clamp(min=1.0)
    return (scored.sum(1) < 2) | (highest - lowest <= TIE * size)


def _deviation(centred: Tensor, count: Tensor, kind: AdvantageName) -> Tensor:
    degrees = count - 1 if kind == "group_sample_std" else count
    variance = centred.square().sum(1, keepdim=True) / degrees.clamp(min=1)
    return variance.sqrt().clamp(min=torch.finfo(torch.float64).tiny)
