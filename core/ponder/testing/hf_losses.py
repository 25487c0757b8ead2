"""Batches of random numbers for losses, and their losses and gradients as plain numbers. Needs torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ponder.types import LossInputs, LossOutput

_LENGTHS = (5, 1, 3, 4, 2, 5)
_ADVANTAGES = (1.0, -0.5, 0.25, -1.25, 0.0, 0.5)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A loss, its gradient with respect to the log-probabilities, [rows][tokens], and its metrics."""

    loss: float
    gradient: list[list[float]]
    metrics: dict[str, float]

    @property
    def is_finite(self) -> bool:
        """Whether the loss and every gradient is a finite number."""
        return math.isfinite(self.loss) and all(math.isfinite(value) for row in self.gradient for value in row)

    @property
    def largest_gradient(self) -> float:
        """The largest absolute value in the gradient."""
        return max(abs(value) for row in self.gradient for value in row)


def batch(
    *,
    advantage: float | None = None,
    on_policy: bool = False,
    padding: float = -1.0,
    with_reference: bool = True,
    single: bool = False,
) -> LossInputs:
    """Six completions of one to five tokens, always the same numbers.

    `advantage` is that of all rows; `on_policy` makes the old policy and the reference equal the new one; `padding` stands
    where the mask is false.
    """
    generator = torch.Generator().manual_seed(7)
    shape = (len(_LENGTHS), max(_LENGTHS))
    mask = torch.arange(shape[1])[None] < torch.tensor(_LENGTHS)[:, None]
    kind = torch.float32 if single else torch.float64

    def around(centre: Tensor, spread: float) -> Tensor:
        noise = torch.randn(shape, generator=generator, dtype=torch.float64) * spread
        return torch.where(mask, (centre + noise).clamp(max=-0.01), padding).to(kind)

    logprobs = around(torch.full(shape, -1.5, dtype=torch.float64), 0.8)
    advantages = torch.tensor(_ADVANTAGES if advantage is None else [advantage] * shape[0], dtype=kind)
    reference = logprobs.clone() if on_policy else around(logprobs.double(), 0.2)
    return LossInputs(
        logprobs=logprobs.clone().requires_grad_(),
        old_logprobs=logprobs.clone() if on_policy else around(logprobs.double(), 0.2),
        reference_logprobs=reference if with_reference else None,
        advantages=advantages,
        mask=mask,
        batch_rows=shape[0],
        batch_tokens=sum(_LENGTHS),
        max_tokens=8,
    )


def rows_of(inputs: LossInputs, rows: Sequence[int]) -> LossInputs:
    """A micro-batch of these rows; the counts stay those of the whole batch."""
    chosen = torch.tensor(list(rows))
    reference = inputs.reference_logprobs
    return dataclasses.replace(
        inputs,
        logprobs=inputs.logprobs.detach()[chosen].requires_grad_(),
        old_logprobs=inputs.old_logprobs[chosen],
        reference_logprobs=None if reference is None else reference[chosen],
        advantages=inputs.advantages[chosen],
        mask=inputs.mask[chosen],
    )


def padded(inputs: LossInputs, columns: int) -> LossInputs:
    """The same completions with so many columns of padding more."""

    def widened(tensor: Tensor, value: float) -> Tensor:
        return torch.nn.functional.pad(tensor, (0, columns), value=value)

    reference = inputs.reference_logprobs
    return dataclasses.replace(
        inputs,
        logprobs=widened(inputs.logprobs.detach(), -3.0).requires_grad_(),
        old_logprobs=widened(inputs.old_logprobs, -2.0),
        reference_logprobs=None if reference is None else widened(reference, -4.0),
        mask=widened(inputs.mask, 0),
    )


def emptied(inputs: LossInputs) -> LossInputs:
    """The same with no token that counts."""
    return dataclasses.replace(inputs, mask=torch.zeros_like(inputs.mask), batch_tokens=0)


def evaluated(output: LossOutput, inputs: LossInputs) -> Evaluated:
    """The numbers of an output; the gradient is 0 where the loss does not depend on a log-probability."""
    gradient = None
    if output.loss.requires_grad:
        (gradient,) = torch.autograd.grad(output.loss, inputs.logprobs, allow_unused=True)
    rows = torch.zeros_like(inputs.logprobs) if gradient is None else gradient
    return Evaluated(
        float(output.loss.detach()),
        rows.tolist(),
        {name: float(value.detach()) for name, value in output.metrics.items()},
    )


def numbers_of(inputs: LossInputs) -> dict[str, object]:
    """Everything in the inputs as plain numbers."""
    values = {item.name: getattr(inputs, item.name) for item in dataclasses.fields(inputs)}
    return {name: value.detach().tolist() if isinstance(value, Tensor) else value for name, value in values.items()}
