"""Sizes as the configuration that transformers builds a model from, and back."""

from __future__ import annotations

from typing import Any

from transformers import DeepseekV3Config

from ponder_deepseek.sizes import PRESETS, Sizes

SAME_NAMES = (
    "hidden_size",
    "intermediate_size",
    "moe_intermediate_size",
    "num_hidden_layers",
    "first_k_dense_replace",
    "num_attention_heads",
    "kv_lora_rank",
    "qk_nope_head_dim",
    "qk_rope_head_dim",
    "v_head_dim",
    "n_routed_experts",
    "n_shared_experts",
    "num_experts_per_tok",
    "n_group",
    "topk_group",
    "norm_topk_prob",
    "routed_scaling_factor",
    "rms_norm_eps",
)


def preset(name: str, vocab_size: int) -> DeepseekV3Config:
    """The configuration of a preset; `vocab_size` is the tokenizer's, used where the preset has no vocabulary of its own."""
    return configuration(PRESETS[name], vocab_size)


def configuration(sizes: Sizes, vocab_size: int) -> DeepseekV3Config:
    """The configuration of these sizes; `vocab_size` is used where they have no vocabulary of their own."""
    tokens = {"bos_token_id": 0, "eos_token_id": 1} | ({"pad_token_id": 2} if sizes.vocabulary is None else {})
    return DeepseekV3Config(
        vocab_size=sizes.vocabulary or vocab_size,
        q_lora_rank=sizes.q_lora_rank or None,
        num_key_value_heads=sizes.num_attention_heads,
        head_dim=sizes.qk_rope_head_dim,
        num_nextn_predict_layers=sizes.mtp_depth,
        max_position_embeddings=sizes.context_length,
        initializer_range=sizes.init_std,
        rope_parameters=_rope_parameters(sizes),
        # What transformers takes for granted and vLLM looks for.
        topk_method="noaux_tc",
        scoring_func="sigmoid",
        **tokens,
        **{name: getattr(sizes, name) for name in SAME_NAMES},
    )


def sizes_of(config: DeepseekV3Config) -> Sizes:
    """The sizes of a configuration; raises ValueError that begins with the name of one that cannot be."""
    rope: dict[str, Any] = dict(config.rope_parameters or {})
    is_yarn = rope.get("rope_type") == "yarn"
    yarn: dict[str, Any] = {
        "yarn_factor": rope.get("factor") or 1.0,
        "yarn_original_length": rope.get("original_max_position_embeddings"),
        "yarn_beta_fast": rope.get("beta_fast") or 32.0,
        "yarn_beta_slow": rope.get("beta_slow") or 1.0,
    }
    return Sizes(
        vocabulary=config.vocab_size,
        q_lora_rank=config.q_lora_rank or 0,
        rope_theta=rope.get("rope_theta", 10000.0),
        mtp_depth=config.num_nextn_predict_layers or 0,
        context_length=config.max_position_embeddings,
        init_std=config.initializer_range,
        **(yarn if is_yarn else {}),
        **{name: getattr(config, name) for name in SAME_NAMES},
    )


def _rope_parameters(sizes: Sizes) -> dict[str, object]:
    if sizes.yarn_factor == 1:
        return {"rope_type": "default", "rope_theta": sizes.rope_theta}
    return {
        "rope_type": "yarn",
        "rope_theta": sizes.rope_theta,
        "factor": sizes.yarn_factor,
        "original_max_position_embeddings": sizes.yarn_original_length,
        "beta_fast": sizes.yarn_beta_fast,
        "beta_slow": sizes.yarn_beta_slow,
        # Both: the factor is on the attention scores, and cosine and sine stay as they are.
        "mscale": sizes.yarn_mscale,
        "mscale_all_dim": sizes.yarn_mscale,
    }
