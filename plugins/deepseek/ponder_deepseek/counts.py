"""What an architecture costs, counted from its sizes alone: parameters, cache, and operations for each token."""

from __future__ import annotations

from ponder_deepseek.sizes import Sizes


def parameters(sizes: Sizes, vocabulary: int | None = None) -> int:
    """All parameters; the routing biases, which are buffers, are not among them. `vocabulary` where the sizes have none."""
    width, rows = sizes.hidden_size, _rows(sizes, vocabulary)
    return (
        2 * rows * width
        + width
        + sizes.num_hidden_layers * (_attention(sizes) + 2 * width)
        + sizes.dense_layers * 3 * width * sizes.intermediate_size
        + sizes.expert_layers * _experts(sizes, sizes.n_routed_experts)
    )


def active_parameters(sizes: Sizes, vocabulary: int | None = None) -> int:
    """The parameters that a token meets: the head counts, the embedding does not, and of the routed experts only the chosen.

    This convention gives 36.6 billion for V3 and 2.4 for V2-Lite; V3's report rounds its own to 37 without saying what it counts.
    """
    unused = sizes.n_routed_experts - sizes.num_experts_per_tok
    idle = sizes.expert_layers * unused * _expert(sizes)
    return parameters(sizes, vocabulary) - idle - _rows(sizes, vocabulary) * sizes.hidden_size


def cache_values_per_token(sizes: Sizes) -> int:
    """Values that all layers cache for a token: the compressed keys and values, and the shared rotary key (V2, section 2.1.3)."""
    return sizes.num_hidden_layers * (sizes.kv_lora_rank + sizes.qk_rope_head_dim)


def cache_bytes_per_token(sizes: Sizes, bytes_per_value: int = 2) -> int:
    """The same in bytes; two a value in bfloat16."""
    return cache_values_per_token(sizes) * bytes_per_value


def forward_operations_per_token(sizes: Sizes, length: int, vocabulary: int | None = None) -> float:
    """Floating-point operations of a forward pass for each token of a sequence of `length` tokens, causal: length / 2 are seen."""
    head = 2 * sizes.qk_nope_head_dim + 2 * sizes.qk_rope_head_dim + 2 * sizes.v_head_dim
    attention = sizes.num_hidden_layers * sizes.num_attention_heads * head * length / 2
    return 2 * (active_parameters(sizes, vocabulary) - _norms(sizes)) + attention


def training_operations_per_token(sizes: Sizes, length: int, vocabulary: int | None = None) -> float:
    """The same of a forward and a backward pass, which costs twice the forward."""
    return 3 * forward_operations_per_token(sizes, length, vocabulary)


def _rows(sizes: Sizes, vocabulary: int | None) -> int:
    rows = sizes.vocabulary or vocabulary
    if rows is None:
        raise ValueError("vocabulary is not among these sizes: give the number of the tokenizer's tokens")
    return rows


def _attention(sizes: Sizes) -> int:
    heads, width, rank, latent = sizes.num_attention_heads, sizes.hidden_size, sizes.q_lora_rank, sizes.kv_lora_rank
    query_width = heads * (sizes.qk_nope_head_dim + sizes.qk_rope_head_dim)
    query = width * rank + rank + rank * query_width if rank else width * query_width
    down = width * (latent + sizes.qk_rope_head_dim) + latent
    up = latent * heads * (sizes.qk_nope_head_dim + sizes.v_head_dim)
    return query + down + up + heads * sizes.v_head_dim * width


def _experts(sizes: Sizes, routed: int) -> int:
    gate = sizes.n_routed_experts * sizes.hidden_size
    return gate + (routed + sizes.n_shared_experts) * _expert(sizes)


def _expert(sizes: Sizes) -> int:
    return 3 * sizes.hidden_size * sizes.moe_intermediate_size


def _norms(sizes: Sizes) -> int:
    in_a_layer = 2 * sizes.hidden_size + sizes.q_lora_rank + sizes.kv_lora_rank
    return sizes.num_hidden_layers * in_a_layer + sizes.hidden_size
