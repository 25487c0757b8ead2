"""What stages that pre-train share with the policies that they train: batches of documents, and the objective. For plugins only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ponder.hf import active_parameters

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ponder.interfaces import Policy

IGNORED: Final = -100
"""The label where nothing is predicted."""
NO_DOCUMENT: Final = -1
"""The document of padding."""


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Packed rows of documents; all tensors are [rows, length] and of int64."""

    inputs: Tensor
    """Token ids; padding stands behind a row's last document."""
    labels: Tensor
    """The token that follows each, `IGNORED` where none is to be predicted."""
    documents: Tensor
    """Which of its row's documents a token belongs to, `NO_DOCUMENT` for padding."""

    @classmethod
    def pack(cls, rows: Sequence[Sequence[Sequence[int]]], length: int, pad: int) -> TokenBatch:
        """From rows of documents of token ids, at most `length` tokens a row."""
        shape = (len(rows), length)
        inputs, labels, documents = (torch.full(shape, value) for value in (pad, IGNORED, NO_DOCUMENT))
        for place, row in enumerate(rows):
            tokens = torch.tensor([token for document in row for token in document])
            sizes = torch.tensor([len(document) for document in row])
            inputs[place, : len(tokens)] = tokens
            labels[place, : len(tokens) - 1] = tokens[1:]
            documents[place, : len(tokens)] = torch.arange(len(row)).repeat_interleave(sizes)
        return cls(inputs, labels, documents)

    @property
    def predicted(self) -> int:
        """How many tokens are predicted."""
        return int(self.labels.ne(IGNORED).sum())


class Objective(Protocol):
    """What a policy is pre-trained to do.

    A policy that has more to learn than the next token, or something to do between optimizer steps, has a method
    `objective() -> Objective`; making one may open parameters for training, so it comes before the optimizer. `progress` is the
    share of the run's tokens that were read before the step. One that trains a mixture of experts may have a method
    `expert_loads() -> list[list[int]]`: the tokens given to each expert of each layer in the last step.
    """

    def loss(self, batch: TokenBatch, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The scalar to minimise, with gradient, and metrics of the step; `loss` among them is the next token's, in nats."""
        ...

    def finish_step(self, progress: float, *, updated: bool) -> dict[str, float]:
        """Called after each step, `updated` or skipped as not finite; returns more metrics of the step."""
        ...

    def active_parameters(self) -> int:
        """Parameters that a token of `loss` is multiplied with, as `ponder.hf.active_parameters` counts them."""
        ...


class NextToken:
    """The objective of a policy that has none of its own."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model

    def loss(self, batch: TokenBatch, progress: float) -> tuple[Tensor, dict[str, float]]:
        """See `Objective`."""
        loss = next_token_loss(self._model, batch)
        return loss, {"loss": loss.item()}

    def finish_step(self, progress: float, *, updated: bool) -> dict[str, float]:
        """See `Objective`."""
        return {}

    def active_parameters(self) -> int:
        """See `Objective`."""
        return active_parameters(self._model)


def objective_of(policy: Policy) -> Objective:
    """The policy's own objective, or the next token."""
    make = getattr(policy, "objective", None)
    objective: Objective = make() if make else NextToken(policy.model)
    return objective


def next_token_loss(model: PreTrainedModel, batch: TokenBatch) -> Tensor:
    """Mean cross-entropy in nats over the labels that count."""
    # Padding stands at the end of a row, where causal attention keeps it from the rest: no mask is needed.
    return label_loss(model(input_ids=batch.inputs, use_cache=False).logits, batch.labels)


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The same of logits [rows, length, vocab] and labels [rows, length]."""
    return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED)
