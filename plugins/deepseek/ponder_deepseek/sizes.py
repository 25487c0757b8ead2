"""The sizes of an architecture: as options over a preset, checked, and resolved into one record. No torch here."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """An architecture in full. Names and meaning are those of `SizeOptions`; raises ValueError that begins with the name."""

    vocabulary: int | None = None
    """Rows of embedding and head; None: as many as the tokenizer has tokens."""
    hidden_size: int
    intermediate_size: int
    moe_intermediate_size: int
    num_hidden_layers: int
    first_k_dense_replace: int = 1
    num_attention_heads: int
    q_lora_rank: int = 0
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    n_routed_experts: int
    n_shared_experts: int = 1
    num_experts_per_tok: int
    n_group: int = 1
    topk_group: int = 1
    norm_topk_prob: bool = True
    routed_scaling_factor: float = 2.5
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    yarn_factor: float = 1.0
    yarn_original_length: int | None = None
    yarn_beta_fast: float = 32.0
    yarn_beta_slow: float = 1.0
    yarn_mscale: float = 1.0
    mtp_depth: int = 0
    context_length: int = 512
    init_std: float = 0.006

    def __post_init__(self) -> None:
        _check_numbers(self)
        _check_experts(self)
        _check_attention(self)
        _check_yarn(self)

    @property
    def dense_layers(self) -> int:
        """Layers with one feed-forward network in place of experts."""
        return self.first_k_dense_replace

    @property
    def expert_layers(self) -> int:
        """Layers with experts."""
        return self.num_hidden_layers - self.first_k_dense_replace


MAY_BE_ABSENT: Final = {"vocabulary", "yarn_original_length"}
MAY_BE_ZERO: Final = {"q_lora_rank", "n_shared_experts", "first_k_dense_replace", "mtp_depth"}


def _check_numbers(sizes: Sizes) -> None:
    for field in dataclasses.fields(Sizes):
        value = getattr(sizes, field.name)
        if isinstance(value, bool) or (value is None and field.name in MAY_BE_ABSENT):
            continue
        if value is None:
            raise ValueError(f"{field.name} must be given")
        if not math.isfinite(value):
            raise ValueError(f"{field.name} must be a finite number, not {value}")
        if value < 0 or (value == 0 and field.name not in MAY_BE_ZERO):
            least = "must not be negative" if field.name in MAY_BE_ZERO else "must be above 0"
            raise ValueError(f"{field.name} {least}, not {value}")


def _check_experts(sizes: Sizes) -> None:
    experts, groups, kept, chosen = sizes.n_routed_experts, sizes.n_group, sizes.topk_group, sizes.num_experts_per_tok
    if sizes.first_k_dense_replace > sizes.num_hidden_layers:
        raise ValueError(
            f"first_k_dense_replace ({sizes.first_k_dense_replace}) is more than num_hidden_layers ({sizes.num_hidden_layers})"
        )
    if experts % groups:
        raise ValueError(f"n_routed_experts ({experts}) must be divisible by n_group ({groups})")
    if experts // groups < 2:
        raise ValueError(
            f"n_group ({groups}) leaves one expert in a group of n_routed_experts ({experts}): it must leave two, whose scores rank it"
        )
    if kept > groups:
        raise ValueError(f"topk_group ({kept}) keeps more groups than n_group ({groups})")
    if chosen > kept * experts // groups:
        raise ValueError(
            f"num_experts_per_tok ({chosen}) is more than the {kept * experts // groups} experts in the groups that "
            f"topk_group ({kept}) keeps"
        )


def _check_attention(sizes: Sizes) -> None:
    if sizes.qk_rope_head_dim % 2:
        raise ValueError(f"qk_rope_head_dim must be even, as it is rotated in pairs, not {sizes.qk_rope_head_dim}")
    if sizes.rope_theta <= 1:
        raise ValueError(f"rope_theta must be above 1, not {sizes.rope_theta}")


def _check_yarn(sizes: Sizes) -> None:
    factor, original = sizes.yarn_factor, sizes.yarn_original_length
    if factor < 1:
        raise ValueError(
            f"yarn_factor must be at least 1: YaRN extends the context, it cannot shorten it to {factor} of it"
        )
    if factor == 1 and original is not None:
        raise ValueError("yarn_original_length has no effect without a yarn_factor above 1: give both or neither")
    if sizes.yarn_beta_fast <= sizes.yarn_beta_slow:
        raise ValueError(
            f"yarn_beta_fast ({sizes.yarn_beta_fast}) must be above yarn_beta_slow ({sizes.yarn_beta_slow})"
        )
    if original is not None and sizes.context_length > factor * original:
        raise ValueError(
            f"context_length ({sizes.context_length}) is more than yarn_factor ({factor:g}) times yarn_original_length ({original})"
        )


@dataclass(frozen=True, kw_only=True)
class SizeOptions:
    """Sizes of the architecture, under their names in the released `config.json`; each is the preset's own when absent."""

    hidden_size: int | None = None
    """Width of the residual stream; the preset's own when absent, like all sizes below."""
    intermediate_size: int | None = None
    """Inner width of the feed-forward network of a dense layer."""
    moe_intermediate_size: int | None = None
    """Inner width of one expert, routed or shared."""
    num_hidden_layers: int | None = None
    """Layers, dense ones included."""
    first_k_dense_replace: int | None = None
    """The first layers, which have one dense feed-forward network in place of experts."""
    num_attention_heads: int | None = None
    """Attention heads."""
    q_lora_rank: int | None = None
    """Width to which queries are compressed; 0: no query compression, as in V2-Lite."""
    kv_lora_rank: int | None = None
    """Width to which keys and values are compressed: what is cached, with the rotary key."""
    qk_nope_head_dim: int | None = None
    """Width of a head's query and key without position."""
    qk_rope_head_dim: int | None = None
    """Width of a head's rotary query, and of the rotary key that all heads share; even."""
    v_head_dim: int | None = None
    """Width of a head's value."""
    n_routed_experts: int | None = None
    """Routed experts of a layer."""
    n_shared_experts: int | None = None
    """Shared experts of a layer, which every token passes; 0: none."""
    num_experts_per_tok: int | None = None
    """Routed experts that a token is sent to."""
    n_group: int | None = None
    """Groups of equal size that the routed experts are divided into. A group is scored by its two best experts, bias
    included: so does the released code, where the report speaks of affinities."""
    topk_group: int | None = None
    """Best groups that a token's experts are chosen from."""
    norm_topk_prob: bool | None = None
    """Whether the weights of a token's experts are divided by their sum."""
    routed_scaling_factor: float | None = None
    """Factor on the weights of a token's experts: 2.5 in V3's released code, where the report has none."""
    rms_norm_eps: float | None = None
    """Added to the mean square in every RMSNorm."""
    rope_theta: float | None = None
    """Base of the rotary frequencies."""
    yarn_factor: float | None = None
    """By how much YaRN extends the context, 40 in the released V3; 1: not at all. Frequencies are blended along a ramp that is
    linear in the dimension, as in the released code; the paper's is linear in the wavelength."""
    yarn_original_length: int | None = None
    """Context before the extension; the preset's context_length when absent."""
    yarn_beta_fast: float | None = None
    """Rotations within the original context from which a frequency is left as it is."""
    yarn_beta_slow: float | None = None
    """Rotations within the original context below which a frequency is divided by yarn_factor."""
    yarn_mscale: float | None = None
    """m in (0.1 m ln(yarn_factor) + 1)^2, the factor on attention scores: 1 in V3's report and code, 0.707 in V2's."""

    mtp_depth: int | None = None
    """Modules of multi-token prediction (section 2.2), each predicting one token further ahead; the preset's own when absent: none,
    and 1 for v3_671b, as published. They read [embedding ; hidden], the order of the released weights (equation 21 has the other),
    behind the final norm, which the paper leaves open. Pre-training trains them, other stages keep them untouched, and `fast`
    samplers draft with them: after SFT or RL their guesses are worse, the text is not."""

    def over(self, preset: Sizes) -> Sizes:
        """The preset's sizes with those given here in their place.

        With YaRN, the context is as long as its factor makes it unless it is given. Raises ValueError that begins with the
        name of an option.
        """
        names = (field.name for field in dataclasses.fields(Sizes))
        given = {name: value for name in names if (value := getattr(self, name, None)) is not None}
        factor = given.get("yarn_factor", preset.yarn_factor)
        if factor > 1 and math.isfinite(factor):
            original = given.setdefault("yarn_original_length", preset.yarn_original_length or preset.context_length)
            given.setdefault("context_length", int(factor * original))
        return dataclasses.replace(preset, **given)


TINY: Final = Sizes(
    hidden_size=32,
    intermediate_size=64,
    moe_intermediate_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    kv_lora_rank=16,
    qk_nope_head_dim=16,
    qk_rope_head_dim=8,
    v_head_dim=16,
    n_routed_experts=4,
    num_experts_per_tok=2,
    init_std=0.08,
)

MINI: Final = Sizes(
    hidden_size=128,
    intermediate_size=256,
    moe_intermediate_size=64,
    num_hidden_layers=3,
    num_attention_heads=4,
    kv_lora_rank=64,
    qk_nope_head_dim=16,
    qk_rope_head_dim=16,
    v_head_dim=32,
    n_routed_experts=8,
    num_experts_per_tok=2,
    init_std=0.05,
)

V2: Final = Sizes(
    vocabulary=102400,
    hidden_size=5120,
    intermediate_size=12288,
    moe_intermediate_size=1536,
    num_hidden_layers=60,
    num_attention_heads=128,
    q_lora_rank=1536,
    kv_lora_rank=512,
    qk_nope_head_dim=128,
    qk_rope_head_dim=64,
    v_head_dim=128,
    n_routed_experts=160,
    n_shared_experts=2,
    num_experts_per_tok=6,
    n_group=8,
    topk_group=3,
    norm_topk_prob=False,
    routed_scaling_factor=16.0,
    yarn_mscale=0.707,
    context_length=4096,
)

V2_LITE: Final = dataclasses.replace(
    V2,
    hidden_size=2048,
    intermediate_size=10944,
    moe_intermediate_size=1408,
    num_hidden_layers=27,
    num_attention_heads=16,
    q_lora_rank=0,
    n_routed_experts=64,
    n_group=1,
    topk_group=1,
    routed_scaling_factor=1.0,
)

V3_671B: Final = Sizes(
    vocabulary=129280,
    hidden_size=7168,
    intermediate_size=18432,
    moe_intermediate_size=2048,
    num_hidden_layers=61,
    first_k_dense_replace=3,
    num_attention_heads=128,
    q_lora_rank=1536,
    kv_lora_rank=512,
    qk_nope_head_dim=128,
    qk_rope_head_dim=64,
    v_head_dim=128,
    n_routed_experts=256,
    num_experts_per_tok=8,
    n_group=8,
    topk_group=4,
    mtp_depth=1,
    context_length=4096,
)

PRESETS: Final[Mapping[str, Sizes]] = {
    "tiny": TINY,
    "mini": MINI,
    "v2_lite": V2_LITE,
    "v2": V2,
    "v3_671b": V3_671B,
}
