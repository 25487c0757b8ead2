"""Incremental decoding over the latent cache, with the up-projections absorbed into query and output (DeepSeek-V2, 2.1.2)."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import DeepseekV3ForCausalLM, DynamicCache
from transformers.models.deepseek_v3.modeling_deepseek_v3 import (
    DeepseekV3Attention,
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
        last = hidden[torch.arange(rows), lengths - 1]
        return self._model.lm_head(last)

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order, repeats allowed."""
        self._latents = [latent.index_select(0, rows) for latent in self._latents]
        self._lengths = self._lengths.index_select(0, rows)
        self._widest = int(self._lengths.max()) if len(rows) else 0

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token to each row: [rows] -> logits [rows, vocab]."""
        model = self._model.model
        hidden = model.embed_tokens(tokens)
        rotary = model.rotary_emb(hidden, self._lengths[:, None])
        self._widest += 1
        visible = torch.arange(self._widest) <= self._lengths[:, None]
        places = (torch.arange(len(tokens)), self._lengths)
        for layer, latent in zip(model.layers, self._latents, strict=True):
            normed = layer.input_layernorm(hidden)
            hidden = hidden + self._attend(layer.self_attn, normed, latent, rotary, visible, places)
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden)[:, None]).squeeze(1)
        self._lengths = self._lengths + 1
        return self._model.lm_head(model.norm(hidden))

    def _attend(
        self,
        attention: DeepseekV3Attention,
        hidden: Tensor,
        latent: Tensor,
        rotary: tuple[Tensor, Tensor],
        visible: Tensor,
        places: tuple[Tensor, Tensor],
    ) -> Tensor:
        """Attention of one new token a row, [rows, width] -> [rows, width]; writes the token's latent into the cache."""
        rank, nope = attention.kv_lora_rank, attention.qk_nope_head_dim
        up = whole_weight(attention.kv_b_proj).view(attention.num_heads, nope + attention.v_head_dim, rank)
        query = _query(attention, hidden).view(len(hidden), attention.num_heads, attention.qk_head_dim)
        compressed, key_rotated = attention.kv_a_proj_with_mqa(hidden).split((rank, attention.qk_rope_head_dim), dim=-1)
        query_rotated, key_rotated = _rotate(attention, query[..., nope:], key_rotated[:, None], rotary)
        latent[places] = torch.cat((attention.kv_a_layernorm(compressed), key_rotated[:, 0]), dim=-1)
        absorbed = torch.einsum("rhn,hnc->rhc", query[..., :nope], up[:, :nope])
        seen = latent[:, : self._widest]
        scores = torch.cat((absorbed, query_rotated), dim=-1) @ seen.transpose(1, 2) * attention.scaling
        weights = scores.float().masked_fill(~visible[:, None], float("-inf")).softmax(-1).to(scores.dtype)
        context = weights @ seen[..., :rank]
        heads = torch.einsum("rhc,hvc->rhv", context, up[:, nope:])
        return attention.o_proj(heads.flatten(1))


def _query(attention: DeepseekV3Attention, hidden: Tensor) -> Tensor:
    if attention.q_lora_rank is None:
        return attention.q_proj(hidden)
    return attention.q_b_proj(attention.q_a_layernorm(attention.q_a_proj(hidden)))


def _rotate(
    attention: DeepseekV3Attention, query: Tensor, key: Tensor, rotary: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Rotate queries and keys [rows, heads, dims] of one position a row."""
    rotate = apply_rotary_pos_emb_interleave if attention.config.rope_interleave else apply_rotary_pos_emb
    query, key = rotate(query[:, :, None], key[:, :, None], *rotary)
    return query.squeeze(2), key.squeeze(2)
