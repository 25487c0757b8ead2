"""Stage `pretrain`: next-token prediction on packed documents, from random weights or from a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from ponder import Component, Stage, hookimpl, lazy, ref


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Next-token prediction with AdamW, warm-up and cosine decay; defaults after DeepSeek-V3 (section 4.2) where a size allows."""

    example: ClassVar[Mapping[str, object]] = {"tokens": 20_000, "batch_tokens": 1024}

    policy: str = ref("policy")
    """Policy to train."""
    task: str = ref("task")
    """Documents: the prompts of its examples, and their answers where they have some, one page each."""
    tokens: int
    """Tokens to train on, padding not counted; documents are read again, reshuffled, when they run out."""
    batch_tokens: int = 4096
    """Tokens of one optimizer step."""
    sequence_length: int = 128
    """Tokens of a packed row. Documents are not masked from each other, as in DeepSeek-V3; longer ones are cut into rows."""
    learning_rate: float = 2e-3
    """Highest learning rate."""
    warmup: float = 0.05
    """Share of the steps over which the learning rate rises linearly."""
    decay: float = 0.5
    """Share of the steps, the last ones, over which it falls along a cosine."""
    final_learning_rate: float = 0.1
    """Where the decay ends, as a share of the highest learning rate."""
    weight_decay: float = 0.1
    """AdamW's weight decay on matrices."""
    beta1: float = 0.9
    """AdamW's first-moment decay."""
    beta2: float = 0.95
    """AdamW's second-moment decay."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this global norm."""
    max_skipped: int = 5
    """Stop after this many steps in a row whose loss or gradient is not finite; such steps change no weight."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; by time, at least every 30 seconds, when absent."""

    def __post_init__(self) -> None:
        for name in ("tokens", "batch_tokens", "sequence_length", "max_skipped"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.batch_tokens < self.sequence_length:
            raise ValueError(
                f"batch_tokens ({self.batch_tokens}) must hold a row of sequence_length ({self.sequence_length})"
            )
        if self.sequence_length < 2:
            raise ValueError("sequence_length must be at least 2: the first token of a row predicts the second")
        for name in ("warmup", "decay", "final_learning_rate", "beta1", "beta2"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share between 0 and 1, not {getattr(self, name)}")
        for name in ("learning_rate", "max_grad_norm"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.warmup + self.decay > 1:
            raise ValueError(f"warmup ({self.warmup}) and decay ({self.decay}) together exceed the run")

    @property
    def rows(self) -> int:
        """Packed rows of one optimizer step."""
        return self.batch_tokens // self.sequence_length

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return max(1, round(self.tokens / (self.rows * self.sequence_length)))

    @property
    def read(self) -> int:
        """Tokens that all steps read, padding included."""
        return self.steps * self.rows * self.sequence_length

    def plan(self) -> str:
        """The batch arithmetic in one sentence."""
        return (
            f"{self.rows} rows x {self.sequence_length} tokens = {self.rows * self.sequence_length:,} tokens a step; "
            f"{self.steps:,} steps read {self.read:,} tokens"
        )


@hookimpl
def ponder_stages() -> Iterator[Component[Stage]]:
    """The stage of this plugin."""
    yield Component("pretrain", PretrainConfig, lazy("ponder_pretraining.stage:Pretrain"))
