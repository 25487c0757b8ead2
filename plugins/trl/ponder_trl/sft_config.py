"""The options of the stage `sft`, free of torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from ponder import passthrough, ref
from ponder.chat_templates import check_template_file
from ponder.workloads import Workload
from ponder_trl.owned import OWNED_BY_THE_LOOP

_OWNED_BY_SFT = (
    "chat_template_path",
    "dataset_text_field",
    "dataset_kwargs",
    "dataset_num_proc",
    "eos_token",
    "pad_token",
    "max_length",
    "truncation_mode",
    "shuffle_dataset",
    "packing",
    "packing_strategy",
    "padding_free",
    "pad_to_multiple_of",
    "eval_packing",
    "completion_only_loss",
    "assistant_only_loss",
)


@dataclass(frozen=True, kw_only=True)
class SftConfig:
    """Supervised fine-tuning: learn to respond as the responses of a task do, end of sequence included.

    Defaults after DeepSeek-R1 (appendix B.4 and table 6): two epochs in batches of 64, a cosine from 5e-6 to a tenth of it. Only the
    responses are learnt, not the prompts. The router bias of a mixture of experts stays as pre-training left it.
    """

    example: ClassVar[Mapping[str, object]] = {"epochs": 1, "batch_size": 8}

    policy: str = ref("policy")
    """The policy that training starts from, or the stage that made it."""
    task: str = ref("task")
    """The conversations: each example's prompt, and as the response its column `response`, or its answer where there is none."""
    epochs: int = 2
    """Passes over the conversations, each in an order of its own."""
    batch_size: int = 64
    """Conversations of one optimizer step; the last step of an epoch takes what is left. The loss is the mean over its tokens."""
    micro_batch_tokens: int = 16384
    """Tokens in one forward and backward pass, padding included; the gradient does not depend on it, memory and speed do."""
    packing: bool = False
    """Put several short conversations of a step into one row, hidden from each other: the same loss with less padding."""
    learning_rate: float = 5e-6
    """Highest learning rate."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises from 0."""
    min_learning_rate_ratio: float = 0.1
    """Where the cosine ends, as a share of the highest learning rate."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates of the first and second moment."""
    weight_decay: float = 0.1
    """AdamW's weight decay, on matrices only."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this global norm."""
    max_length: int | None = None
    """Longest conversation in tokens; what the policy can read at most when absent."""
    too_long: Literal["drop", "refuse"] = "drop"
    """What to do about longer conversations: leave them out and say how many, or stop before training. They are never cut: a response
    without its end teaches the policy not to stop."""
    chat_template: str | None = None
    """One of the chat templates that the policy offers by name; it is kept with the trained policy. The policy's present one when absent."""
    chat_template_file: Path | None = None
    """A Jinja file with the chat template instead."""
    max_skipped: int = 5
    """Stop after this many steps in a row whose loss or gradient is not finite; such steps change no weight."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; by time, at least every 30 seconds, when absent."""
    trl: dict[str, Any] = passthrough("trl:SFTConfig", owned=(*OWNED_BY_THE_LOOP, *_OWNED_BY_SFT))
    """Further options of TRL's trainer, such as `bf16`, `gradient_checkpointing`, `loss_type: dft` or `neftune_noise_alpha`."""

    def __post_init__(self) -> None:
        _at_least(self, 1, "epochs", "batch_size", "max_skipped", "max_length", "checkpoint_every")
        _at_least(self, 16, "micro_batch_tokens")
        _at_least(self, 0, "warmup_steps", "weight_decay")
        for name in ("learning_rate", "max_grad_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        if not 0 <= self.min_learning_rate_ratio <= 1:
            raise ValueError(f"min_learning_rate_ratio is a share between 0 and 1, not {self.min_learning_rate_ratio}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must lie in [0, 1), not {list(self.betas)}")
        if self.chat_template is not None and self.chat_template_file is not None:
            raise ValueError("give either chat_template (by name) or chat_template_file, not both")
        if self.chat_template_file is not None:
            check_template_file(self.chat_template_file)

    def plan(self) -> str:
        """What a step is, in one sentence; how many there are depends on the task."""
        passes = "1 epoch" if self.epochs == 1 else f"{self.epochs} epochs"
        return (
            f"{passes} in steps of {self.batch_size:,} conversations; learning rate from {self.learning_rate:g} "
            f"along a cosine to {self.learning_rate * self.min_learning_rate_ratio:g}"
        )

    def workload(self, _: object) -> Workload:
        """One pass at its largest, for planning; how many tokens there are depends on the task."""
        return Workload(trained=None, length=self.max_length, pass_tokens=self.micro_batch_tokens)


def _at_least(config: object, least: int, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and value < least:
            raise ValueError(f"{name} must be at least {least}, not {value}")
