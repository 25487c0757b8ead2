"""What ponder changes in a Hugging Face trainer: whole steps cut into micro-batches, the step's loss, and no telemetry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import Trainer as _Base
else:
    _Base = object


@dataclass(frozen=True, slots=True)
class StepBatch:
    """What one optimizer step learns from, cut into micro-batches."""

    parts: Sequence[Mapping[str, Any]]
    """The inputs of each forward and backward pass, as the trainer's data collator would make them."""
    items: int
    """What the step's loss is a mean over, such as the tokens that are learnt; handed to `compute_loss` as `num_items_in_batch`."""
    tokens: int
    """Tokens that the model reads, padding not counted."""

    def __contains__(self, name: object) -> bool:
        """A trainer looks for single inputs here to count them: there are none."""
        return False


@dataclass(frozen=True, slots=True)
class RemainingBatches:
    """The batches of the steps from `start` on, made one at a time; a trainer's data loader."""

    make: Callable[[int], StepBatch]
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[StepBatch]:
        return (self.make(step) for step in range(self.start, self.stop))


class StepTrainer(_Base):
    """Mixed in before a trainer's class.

    `batches`, when it is set, takes the place of the trainer's data loader: an iterable with a length of `StepBatch`es, the batches
    of the steps still to do, each with as many micro-batches as suit it.
    """

    batches: RemainingBatches | None = None
    step_loss: float = 0.0
    """The loss of the last step, all its micro-batches together."""
    step_tokens: int = 0
    """Tokens that the model read in the last step; 0 when the batches are the trainer's own."""

    def get_train_dataloader(self) -> Any:
        """See `Trainer`."""
        return super().get_train_dataloader() if self.batches is None else self.batches

    def training_step(self, model: torch.nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """The forward and backward passes of a step, or of a micro-batch if the trainer cuts its batches itself."""
        if not isinstance(inputs, StepBatch):
            loss = super().training_step(model, inputs, num_items_in_batch)
            self.step_loss, self.step_tokens = float(loss), 0
            return loss
        # The trainer divides by this what is not divided by the number of items.
        self.current_gradient_accumulation_steps = len(inputs.parts)
        losses = [super(StepTrainer, self).training_step(model, part, inputs.items) for part in inputs.parts]
        loss = torch.stack(losses).sum()
        self.step_loss, self.step_tokens = float(loss), inputs.tokens
        return loss

    def _send_telemetry(self) -> None:
        """TRL reports each trainer to Hugging Face; ponder tells nobody."""
