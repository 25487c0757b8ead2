"""Policy `deepseek`: DeepSeek-V3's architecture from a few hundred thousand parameters to 671 billion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from ponder import Component, Policy, hookimpl, lazy, ref


@dataclass(frozen=True, kw_only=True)
class DeepseekConfig:
    """A DeepSeek-V3 mixture of experts, made from a preset and initialised at random."""

    example: ClassVar[Mapping[str, object]] = {"preset": "tiny"}

    preset: Literal["tiny", "mini", "v3_671b"] = "mini"
    """tiny: for tests. mini: trains in minutes on a CPU. v3_671b: the published sizes, on the meta device (to count, not to run)."""
    corpus: str | None = ref("task", default=None)
    """Task of documents that a byte-pair tokenizer is trained on; without one, every byte is a token."""
    vocab_size: int = 768
    """Largest vocabulary of a tokenizer trained on `corpus`."""
    chat_template: Literal["r1_zero", "r1"] = "r1_zero"
    """r1_zero: the paper's plain-text conversation. r1: role tokens, and a prompt that ends with an opened <think>."""
    context_length: int | None = None
    """Longest sequence in tokens; the preset's own when absent."""
    init_std: float | None = None
    """Standard deviation of the initial weights; the preset's own when absent (0.006 for v3_671b, as published)."""
    bias_update_rate: float = 0.001
    """Gamma of the auxiliary-loss-free balancing (DeepSeek-V3, section 2.1.2), used while pre-training; 0 switches it off."""

    def __post_init__(self) -> None:
        if self.vocab_size < 300:
            raise ValueError(
                f"vocab_size must be at least 300 (256 bytes and the special tokens), not {self.vocab_size}"
            )
        if self.context_length is not None and self.context_length < 1:
            raise ValueError(f"context_length must be at least 1, not {self.context_length}")
        if self.bias_update_rate < 0:
            raise ValueError(f"bias_update_rate must not be negative, not {self.bias_update_rate}")
        if self.init_std is not None and self.init_std <= 0:
            raise ValueError(f"init_std must be above 0, not {self.init_std}")


@hookimpl
def ponder_policies() -> Iterator[Component[Policy]]:
    """The policy of this plugin."""
    yield Component("deepseek", DeepseekConfig, lazy("ponder_deepseek.policy:DeepseekPolicy"))
