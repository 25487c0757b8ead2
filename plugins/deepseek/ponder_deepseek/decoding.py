"""Incremental decoding over the latent cache, with the up-projections absorbed into query and output (DeepSeek-V2, 2.1.2)."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import DeepseekV3ForCausalLM, DynamicCache
from transformers.models.deepseek_v3.modeling_deepseek_v3 import (
    DeepseekV3Attention,
    DeepseekV3DecoderLayer,
    apply_rotary_pos_emb,
    apply_rotary_pos_emb_interleave,
)

from ponder.hf_lora import whole_weight


class LatentDecoder:
    """A static cache of (d_c + d_h^R) values for each token and layer, and attention computed on it directly.

    Rows may have different lengths: each token is written at its own row's end. Equal to the model's own forward up to rounding.
    """

    def __init__(self, model: DeepseekV3ForCausalLM) -> None:
        self._model = model
        self._latents: list[Tensor] = []
        self._lengths = torch.empty(0, dtype=torch.long)
        self._widest = 0

    def prefill(self, input_ids: Tensor, lengths: Tensor, capacity: int) -> Tensor:
        """Read prompts [rows, longest], right-padded; returns the logits [rows, vocab] after each row's last token."""
        hidden = self._read_prompts(input_ids, lengths, capacity)
        return self._model.lm_head(hidden[torch.arange(len(lengths)), lengths - 1])

    def _read_prompts(self, input_ids: Tensor, lengths: Tensor, capacity: int) -> Tensor:
        """Fill the cache; returns the hidden states [rows, longest, width] behind the final norm."""
        # What is padded stands behind what counts, where causal attention does not look.
        cache = DynamicCache(config=self._model.config)
        hidden = self._model.model(input_ids=input_ids, past_key_values=cache, use_cache=True).last_hidden_state
        rows, longest = input_ids.shape
        self._latents = []
        for layer in cache.layers:
            latent = torch.cat((layer.keys, layer.values), dim=-1).squeeze(1)
            room = latent.new_zeros(rows, longest + capacity, latent.shape[-1])
            room[:, :longest] = latent
            self._latents.append(room)
        self._lengths = lengths.clone()
        self._widest = longest
        return hidden

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order, repeats allowed."""
        self._latents = [latent.index_select(0, rows) for latent in self._latents]
        self._lengths = self._lengths.index_select(0, rows)
        self._widest = int(self._lengths.max()) if len(rows) else 0

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token to each row: [rows] -> logits [rows, vocab]."""
        hidden = self._extend(tokens[:, None])
        self._lengths = self._lengths + 1
        return self._model.lm_head(hidden[:, 0])

    def _extend(self, tokens: Tensor) -> Tensor:
        """Write tokens [rows, new] behind each row's end, which stays where it is; returns their hidden states [rows, new, width]."""
        model = self._model.model
        slots = self._lengths[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
        self._widest += tokens.shape[1]
        visible = torch.arange(self._widest, device=tokens.device) <= slots[..., None]
        hidden = model.embed_tokens(tokens)
        rotary = model.rotary_emb(hidden, slots)
        for layer, latent in zip(model.layers[: len(self._latents)], self._latents, strict=True):
            hidden = read_layer(layer, hidden, latent, rotary, visible, slots)
        return model.norm(hidden)


def read_layer(
    layer: DeepseekV3DecoderLayer,
    hidden: Tensor,
    latent: Tensor,
    rotary: tuple[Tensor, Tensor],
    visible: Tensor,
    slots: Tensor,
) -> Tensor:
    """One decoder layer on new tokens, [rows, new, width] -> [rows, new, width]; writes their latents [rows, slots, values] at `slots`.

    `visible` [rows, new, seen] says which of the first slots each token sees.
    """
    attended = _attend(layer.self_attn, layer.input_layernorm(hidden), latent, rotary, visible, slots)
    hidden = hidden + attended
    return hidden + layer.mlp(layer.post_attention_layernorm(hidden))


def _attend(
    attention: DeepseekV3Attention,
    hidden: Tensor,
    latent: Tensor,
    rotary: tuple[Tensor, Tensor],
    visible: Tensor,
    slots: Tensor,
) -> Tensor:
    rank, nope = attention.kv_lora_rank, attention.qk_nope_head_dim
    up = whole_weight(attention.kv_b_proj).view(attention.num_heads, nope + attention.v_head_dim, rank)
    query = _query(attention, hidden).unflatten(-1, (attention.num_heads, attention.qk_head_dim))
    query_rotated = _rotated(attention, query[..., nope:], rotary)
    latent[torch.arange(len(hidden), device=hidden.device)[:, None], slots] = latents(attention, hidden, rotary)
    absorbed = torch.einsum("rthn,hnc->rthc", query[..., :nope], up[:, :nope])
    seen = latent[:, : visible.shape[-1]]
    # All heads of all new tokens of a row share its keys: one matrix product.
    queries = torch.cat((absorbed, query_rotated), dim=-1).flatten(1, 2)
    scores = (queries @ seen.transpose(1, 2) * attention.scaling).unflatten(1, absorbed.shape[1:3])
    weights = scores.float().masked_fill(~visible[:, :, None], float("-inf")).softmax(-1).to(scores.dtype)
    context = (weights.flatten(1, 2) @ seen[..., :rank]).view(absorbed.shape)
    heads = torch.einsum("rthc,hvc->rthv", context, up[:, nope:])
    return attention.o_proj(heads.flatten(2))


def _query(attention: DeepseekV3Attention, hidden: Tensor) -> Tensor:
    if attention.q_lora_rank is None:
        return attention.q_proj(hidden)
    return attention.q_b_proj(attention.q_a_layernorm(attention.q_a_proj(hidden)))


def latents(attention: DeepseekV3Attention, hidden: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """What the cache holds of tokens, [rows, new, values], from the layer's normed hidden states [rows, new, width]."""
    sizes = (attention.kv_lora_rank, attention.qk_rope_head_dim)
    compressed, key = attention.kv_a_proj_with_mqa(hidden).split(sizes, dim=-1)
    key = _rotated(attention, key[:, :, None], rotary)[:, :, 0]
    return torch.cat((attention.kv_a_layernorm(compressed), key), dim=-1)


def _rotated(attention: DeepseekV3Attention, vectors: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Queries or keys [rows, new, heads, dims] at their positions."""
    rotate = apply_rotary_pos_emb_interleave if attention.config.rope_interleave else apply_rotary_pos_emb
    return rotate(vectors, vectors[:, :, :1], *rotary, unsqueeze_dim=2)[0]
