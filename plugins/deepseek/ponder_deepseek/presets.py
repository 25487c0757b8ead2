"""Sizes, from a test's to the published ones."""

from __future__ import annotations

from transformers import DeepseekV3Config


def preset(name: str, vocab_size: int) -> DeepseekV3Config:
    """The configuration of a preset; `vocab_size` is the tokenizer's, which `v3_671b` has published and ignores."""
    if name == "v3_671b":
        # transformers' defaults are the published sizes; the initial weights of the report are N(0, 0.006^2) (section 4.2).
        return DeepseekV3Config(initializer_range=0.006)
    sizes = {"tiny": TINY, "mini": MINI}[name]
    return DeepseekV3Config(vocab_size=vocab_size, bos_token_id=0, eos_token_id=1, pad_token_id=2, **SMALL, **sizes)


SMALL = {
    "num_nextn_predict_layers": 0,
    "n_group": 1,
    "topk_group": 1,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "q_lora_rank": None,
}

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "head_dim": 8,
    "v_head_dim": 16,
    "intermediate_size": 64,
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.08,
}

MINI = {
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "kv_lora_rank": 64,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 16,
    "head_dim": 16,
    "v_head_dim": 32,
    "intermediate_size": 256,
    "moe_intermediate_size": 64,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.05,
}
