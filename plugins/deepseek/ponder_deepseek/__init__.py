"""Policy `deepseek`: DeepSeek-V3's architecture from a few hundred thousand parameters to 671 billion."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ponder import Component, Policy, hookimpl, lazy, passthrough, ref
from ponder.lora_options import LORA_OWNED, LORA_TYPES, check_lora
from ponder_deepseek.sizes import PRESETS, SizeOptions, Sizes

if TYPE_CHECKING:
    from ponder.footprints import Footprint


@dataclass(frozen=True, kw_only=True)
class DeepseekConfig(SizeOptions):
    """A DeepSeek-V3 mixture of experts: new, from a preset and sizes of your own, or with the weights of a checkpoint."""

    example: ClassVar[Mapping[str, object]] = {"preset": "tiny"}

    preset: Literal["tiny", "mini", "v2_lite", "v2", "v3_671b"] = "mini"
    """tiny: for tests. mini: trains in minutes on a CPU. v3_671b, v2, v2_lite: the published sizes (those of V2 in the
    architecture of V3, whose gate is a sigmoid). What has more than ten billion parameters is made on the meta device: to
    count, not to run."""
    path: Path | None = None
    """Directory of a checkpoint in the released format (safetensors and `config.json`; FP8 weights are dequantised), from
    which weights, sizes and tokenizer come instead of from a preset. Its own code is never run."""
    corpus: str | None = ref("task", default=None)
    """Task of documents that a byte-pair tokenizer is trained on; without one, every byte is a token."""
    vocab_size: int = 768
    """Largest vocabulary of a tokenizer trained on `corpus`."""
    chat_template: Literal["r1_zero", "r1"] = "r1_zero"
    """r1_zero: the paper's plain-text conversation. r1: role tokens, and a prompt that ends with an opened <think>."""
    context_length: int | None = None
    """Longest sequence in tokens; the preset's own when absent."""
    init_std: float | None = None
    """Standard deviation of the initial weights; the preset's own when absent: for the published sizes the report's 0.006,
    not the 0.02 of the released `config.json`, which is a library's default."""
    bias_update_rate: float = 0.001
    """Gamma of the balancing without an auxiliary loss (DeepSeek-V3, section 2.1.2), used while pre-training; 0 switches it off."""
    bias_update_share: float = 14.3 / 14.8
    """Share of the pre-training's tokens after which gamma is 0: 14.3 of 14.8 trillion in DeepSeek-V3 (section 4.2)."""
    balance_loss: Literal["sequence", "batch"] = "sequence"
    """What the balance loss balances: each packed row by itself (equations 17 to 20), or all rows of a step (section 4.5.3)."""
    balance_loss_weight: float = 0.0001
    """Alpha of the balance loss, which is summed over layers, the mean over sequences: 0.0001 in the report (section 4.2), where the
    released configuration has 0.001; 0 switches it off. With `bias_update_rate: 0` and a larger one, it alone balances."""
    mtp_weight: float = 0.3
    """Lambda, what the mean of the modules' losses is multiplied by. A module's loss is the sum over the positions whose further
    token lies in the same document, divided by all next tokens that are predicted: by T, as equation 24 is printed, not T - k."""
    mtp_final_weight: float = 0.1
    """Lambda in the last part of a pre-training run."""
    mtp_switch: float = 10 / 14.8
    """Share of a pre-training run's tokens after which lambda is the final one; 10 of 14.8 trillion, as published, when absent."""
    lora: dict[str, Any] = passthrough("peft:LoraConfig", owned=LORA_OWNED, types=LORA_TYPES)
    """Train low-rank adapters instead of the weights, with options of peft such as {r: 8, lora_alpha: 16}; none when empty. On the
    routed experts unless `target_modules` or `target_parameters` name others. A new model is pre-trained whole: stages that start
    from an earlier one have adapters, and save them merged. GRPO's reference is then the model without them, if never refreshed."""

    def __post_init__(self) -> None:
        if self.vocab_size < 300:
            raise ValueError(
                f"vocab_size must be at least 300 (256 bytes and the special tokens), not {self.vocab_size}"
            )
        for name in ("bias_update_rate", "balance_loss_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a number of at least 0, not {getattr(self, name)}")
        if not 0 <= self.bias_update_share <= 1:
            raise ValueError(f"bias_update_share is a share between 0 and 1, not {self.bias_update_share}")
        for name in ("mtp_weight", "mtp_final_weight"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} must be 0 (off) or a positive number, not {getattr(self, name)}")
        if not 0 <= self.mtp_switch <= 1:
            raise ValueError(f"mtp_switch is a share of the run between 0 and 1, not {self.mtp_switch}")
        check_lora(self.lora)
        sizes = self.sizes()
        is_plain = self.preset == "mini" and self.corpus is None and sizes == PRESETS[self.preset]
        if self.path is not None and not is_plain:
            raise ValueError("path brings sizes and tokenizer of its own: leave out preset, corpus and sizes, or path")

    def sizes(self) -> Sizes:
        """The sizes of a new model: the preset's, with those that are given in their place."""
        return self.over(PRESETS[self.preset])

    def bias_rate(self, progress: float) -> float:
        """Gamma when this share of the tokens has been read."""
        return self.bias_update_rate if progress < self.bias_update_share else 0.0

    def footprint(self) -> Footprint:
        """What it holds and computes, for planning; a tokenizer of `corpus` counts as large as it may be."""
        made: Footprint = lazy("ponder_deepseek.footprint:footprint")(self)
        return made


@hookimpl
def ponder_policies() -> Iterator[Component[Policy]]:
    """The policy of this plugin."""
    yield Component("deepseek", DeepseekConfig, lazy("ponder_deepseek.policy:DeepseekPolicy"))
