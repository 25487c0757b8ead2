"""Clipped policy-gradient losses that differ in how tokens are averaged.

For each token, with ratio = pi_theta / pi_old and A the completion's advantage (DeepSeekMath, equation 3; DeepSeek-R1,
equation 1), the loss is

    -min(ratio * A, clip(ratio, 1 - epsilon_low, 1 + epsilon_high) * A) + kl_coef * KL

A share is normalised by the whole batch of the update, so that micro-batches add up to it however it was cut.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import torch
from torch import Tensor

from ponder.errors import InputError
from ponder.types import LossInputs, LossOutput
from ponder_grpo.config import DapoLossConfig, DrGrpoLossConfig, GrpoLossConfig
from ponder_grpo.kl import kl_estimate

Config = TypeVar("Config", GrpoLossConfig, DapoLossConfig, DrGrpoLossConfig)


class ClippedLoss(ABC, Generic[Config]):
    """What the three losses share: each only says how tokens are averaged."""

    def __init__(self, config: Config) -> None:
        self.config: Config = config

    @property
    def needs_reference(self) -> bool:
        """Whether `reference_logprobs` must be given."""
        return self.config.kl_coef > 0

    def __call__(self, inputs: LossInputs) -> LossOutput:
        """This micro-batch's share of the loss, with shares of `clip_fraction`, `ratio_drift` and `kl`."""
        ratio = torch.where(inputs.mask, inputs.logprobs - inputs.old_logprobs, 0.0).exp()
        per_token = self._policy_term(ratio, inputs.advantages[:, None].to(ratio.dtype))
        metrics = {"clip_fraction": self._clipped(ratio, inputs), "ratio_drift": _drift(ratio, inputs)}
        if self.needs_reference:
            kl = self._kl(ratio, inputs)
            per_token = per_token + self.config.kl_coef * kl
            metrics["kl"] = kl.detach()
        loss = self.average(torch.where(inputs.mask, per_token, 0.0), inputs)
        return LossOutput(loss, {name: _token_share(values, inputs) for name, values in metrics.items()})

    @abstractmethod
    def average(self, per_token: Tensor, inputs: LossInputs) -> Tensor:
        """Per-token losses [rows, tokens], 0 where they do not count -> the share of the batch's loss."""

    def _policy_term(self, ratio: Tensor, advantages: Tensor) -> Tensor:
        clipped = ratio.clamp(1 - self.config.epsilon_low, 1 + self.config.epsilon_high)
        return -torch.minimum(ratio * advantages, clipped * advantages)

    def _kl(self, ratio: Tensor, inputs: LossInputs) -> Tensor:
        if inputs.reference_logprobs is None:
            raise ValueError("a loss with kl_coef above 0 needs reference_logprobs")
        # Where the mask is false the log-probabilities may be anything: equal ones make the term 0.
        logprobs = torch.where(inputs.mask, inputs.logprobs, 0.0)
        reference = torch.where(inputs.mask, inputs.reference_logprobs, 0.0)
        return kl_estimate(self.config.kl, logprobs, reference, ratio)

    def _clipped(self, ratio: Tensor, inputs: LossInputs) -> Tensor:
        """The tokens whose policy gradient the clip has stopped."""
        advantages = inputs.advantages[:, None]
        low = (ratio < 1 - self.config.epsilon_low) & (advantages < 0)
        high = (ratio > 1 + self.config.epsilon_high) & (advantages > 0)
        return (low | high).to(ratio.dtype)


class GrpoLoss(ClippedLoss[GrpoLossConfig]):
    """The mean over each completion's tokens, then over the batch's completions (DeepSeekMath, equation 3)."""

    def average(self, per_token: Tensor, inputs: LossInputs) -> Tensor:
        lengths = inputs.mask.sum(1).clamp(min=1)
        return (per_token.sum(1) / lengths).sum() / max(inputs.batch_rows, 1)


class DapoLoss(ClippedLoss[DapoLossConfig]):
    """The mean over all tokens of the batch (DAPO, equation 8)."""

    def average(self, per_token: Tensor, inputs: LossInputs) -> Tensor:
        return per_token.sum() / max(inputs.batch_tokens, 1)


class DrGrpoLoss(ClippedLoss[DrGrpoLossConfig]):
    """The sum over each completion's tokens by a constant, then the mean over completions (Dr. GRPO, section 3.2)."""

    def average(self, per_token: Tensor, inputs: LossInputs) -> Tensor:
        constant = self.config.denominator or inputs.max_tokens
        if constant < 1:
            raise InputError(
                "loss dr_grpo divides by the sampler's length limit, and this sampler has none: set the loss's `denominator`"
            )
        return per_token.sum() / (max(inputs.batch_rows, 1) * constant)


def _token_share(values: Tensor, inputs: LossInputs) -> Tensor:
    return torch.where(inputs.mask, values, 0.0).sum() / max(inputs.batch_tokens, 1)


def _drift(ratio: Tensor, inputs: LossInputs) -> Tensor:
    """How far the ratio is from 1, where there is an advantage: the same whether rows without one were computed or not."""
    return (ratio.detach() - 1).abs() * (inputs.advantages != 0)[:, None]
