"""Policy `causal_lm`: any causal language model of transformers, from a directory, or small and new in two architectures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ponder import Component, Policy, hookimpl, lazy, ref

if TYPE_CHECKING:
    from ponder.footprints import Footprint


@dataclass(frozen=True, kw_only=True)
class CausalLMConfig:
    """A causal language model of transformers: pretrained weights from `path`, or a small new model from `preset`."""

    example: ClassVar[Mapping[str, object]] = {"preset": "qwen2_tiny"}

    preset: Literal["qwen2_mini", "llama_mini", "qwen2_tiny", "llama_tiny"] | None = None
    """A new model and tokenizer. mini: 0.7 million parameters, trains in minutes on a CPU. tiny: for tests."""
    path: str | None = None
    """Directory or Hugging Face name of a pretrained model; its own code is never run. Instead of `preset`."""
    corpus: str | None = ref("task", default=None)
    """Task of documents that a preset's byte-pair tokenizer is trained on; without one, every byte is a token."""
    vocab_size: int = 768
    """Largest vocabulary of a tokenizer trained on `corpus`."""
    context_length: int | None = None
    """Longest sequence in tokens; a preset's 512 or a pretrained model's own when absent."""
    chat_template: Literal["r1_zero", "r1"] | None = None
    """r1_zero: the paper's plain-text conversation. r1: the model's own role tokens, and a prompt that ends with an opened
    <think>. Absent: the pretrained tokenizer's own, for a preset r1_zero."""
    init_std: float | None = None
    """Standard deviation of a new model's initial weights; the preset's own when absent."""

    def __post_init__(self) -> None:
        if (self.preset is None) == (self.path is None):
            raise ValueError("give either preset (a new model) or path (a pretrained one)")
        if self.path is not None and (self.corpus is not None or self.init_std is not None):
            raise ValueError("corpus and init_std make a new model: they go with preset, not with path")
        if self.vocab_size < 300:
            raise ValueError(
                f"vocab_size must be at least 300 (256 bytes and the special tokens), not {self.vocab_size}"
            )
        if self.context_length is not None and self.context_length < 1:
            raise ValueError(f"context_length must be at least 1, not {self.context_length}")
        if self.init_std is not None and self.init_std <= 0:
            raise ValueError(f"init_std must be above 0, not {self.init_std}")

    def footprint(self) -> Footprint:
        """What it holds and computes, for planning; a tokenizer of `corpus` counts as large as it may be."""
        made: Footprint = lazy("ponder_causal_lm.footprint:footprint")(self)
        return made


@hookimpl
def ponder_policies() -> Iterator[Component[Policy]]:
    """The policy of this plugin."""
    yield Component("causal_lm", CausalLMConfig, lazy("ponder_causal_lm.policy:CausalLMPolicy"))
