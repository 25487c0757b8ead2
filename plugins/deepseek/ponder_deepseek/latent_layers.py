"""Decoder layers that read a few tokens over a latent cache (DeepSeek-V2, section 2.1.2), with weights laid out for it.

For a few tokens it is the number of operations that takes the time. So what reads the same states is one product here, halves
and signs of a rotation are in the weights, a mask and a scale are part of the product that they follow, and few experts are
multiplied at once with all tokens. The weights are copies, those of more than a few experts excepted, and are good until they change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.models.deepseek_v3.modeling_deepseek_v3 import (
    DeepseekV3Attention,
    DeepseekV3DecoderLayer,
    DeepseekV3Experts,
    DeepseekV3MLP,
    DeepseekV3MoE,
    DeepseekV3RMSNorm,
)

from ponder.hf import whole_weight

FEW_EXPERTS = 16
"""Up to so many are multiplied with tokens that did not choose them."""
FEW_TOKENS = 96
"""Up to so many tokens that takes less time than sorting them by expert."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where new tokens [rows, new] stand, the same for all layers."""

    slots: Tensor
    """[rows * new]: in a cache whose rows stand one behind the other."""
    mask: Tensor
    """[rows, new * heads, seen]: 0 where a token sees one of the first slots, and minus infinity elsewhere."""
    cosine: Tensor
    """[rows * new, 1, rotary dimensions], its two halves equal."""
    sine: Tensor
    """The same."""


class LatentLayer:
    """A decoder layer on new tokens [rows * new, width]; writes their latents into its cache [rows, slots, values]."""

    def __init__(self, layer: DeepseekV3DecoderLayer) -> None:
        self._before, self._between = Norm(layer.input_layernorm), Norm(layer.post_attention_layernorm)
        self._attention = LatentAttention(layer.self_attn)
        self._feed_forward = _feed_forward(layer.mlp)

    def __call__(self, hidden: Tensor, cache: Tensor, places: Places) -> Tensor:
        """The tokens' hidden states behind the layer."""
        hidden = hidden + self._attention(self._before(hidden), cache, places)
        return hidden + self._feed_forward(self._between(hidden))

    def fill(self, hidden: Tensor, cache: Tensor, cosine: Tensor, sine: Tensor) -> None:
        """Write the latents of prompts [rows, length, width] into a cache [rows, length, values]; rotary parts are of its positions."""
        cache.copy_(self._attention.latents(self._before(hidden), cosine, sine))


class LatentAttention:
    """Attention of new tokens to a latent cache: queries are brought down to the latents, not the latents up to keys and values."""

    def __init__(self, attention: DeepseekV3Attention) -> None:
        self._heads, self._rank, self._scale = attention.num_heads, attention.kv_lora_rank, attention.scaling
        self._nope, self._rope = attention.qk_nope_head_dim, attention.qk_rope_head_dim
        self._latent_norm = Norm(attention.kv_a_layernorm)
        latent, key = whole_weight(attention.kv_a_proj_with_mqa).split((self._rank, self._rope))
        down = torch.cat((latent, *self._turned(attention, key)))
        if attention.q_lora_rank is None:
            first, self._query_norm, self._second = self._queries(attention, whole_weight(attention.q_proj)), None, None
        else:
            first, self._query_norm = whole_weight(attention.q_a_proj), Norm(attention.q_a_layernorm)
            self._second = self._queries(attention, whole_weight(attention.q_b_proj))
        self._first, self._down = torch.cat((first, down)), down
        up = whole_weight(attention.kv_b_proj).view(self._heads, self._nope + attention.v_head_dim, self._rank)
        self._up_keys, self._up_values = up[:, : self._nope], up[:, self._nope :].transpose(1, 2)
        self._out = whole_weight(attention.o_proj)

    def __call__(self, hidden: Tensor, cache: Tensor, places: Places) -> Tensor:
        """[rows * new, width] -> [rows * new, width]."""
        query, down = F.linear(hidden, self._first).split((len(self._first) - len(self._down), len(self._down)), -1)
        latents = self._latents(down, places.cosine.squeeze(1), places.sine.squeeze(1))
        cache.view(-1, cache.shape[-1]).index_copy_(0, places.slots, latents)
        seen = cache[:, : places.mask.shape[-1]]
        # All heads of all new tokens of a row share its keys: one matrix product.
        queries = self._absorbed(query, places).view(len(cache), -1, cache.shape[-1])
        scores = torch.baddbmm(places.mask, queries, seen.transpose(1, 2), alpha=self._scale)
        weights = scores.softmax(-1, dtype=torch.float32).to(scores.dtype)
        context = torch.bmm(weights, seen[..., : self._rank]).view(-1, self._heads, self._rank)
        values = torch.bmm(context.transpose(0, 1), self._up_values)
        return F.linear(values.transpose(0, 1).flatten(1), self._out)

    def latents(self, hidden: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """What a cache holds of tokens [..., width]: [..., values]."""
        return self._latents(F.linear(hidden, self._down), cosine, sine)

    def _latents(self, down: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        latent, key, swapped = down.split((self._rank, self._rope, self._rope), -1)
        turned = torch.addcmul(key * cosine, swapped, sine)
        return torch.cat((self._latent_norm(latent), turned), dim=-1)

    def _absorbed(self, query: Tensor, places: Places) -> Tensor:
        """Queries [tokens, heads, values] that meet latents, not keys."""
        if self._second is not None and self._query_norm is not None:
            query = F.linear(self._query_norm(query), self._second)
        heads = self._heads
        nope, rope, swapped = query.split([heads * self._nope, heads * self._rope, heads * self._rope], -1)
        absorbed = torch.bmm(nope.unflatten(-1, (heads, -1)).transpose(0, 1), self._up_keys).transpose(0, 1)
        turned = rope.unflatten(-1, (heads, -1)) * places.cosine
        turned.addcmul_(swapped.unflatten(-1, (heads, -1)), places.sine)
        return torch.cat((absorbed, turned), dim=-1)

    def _queries(self, attention: DeepseekV3Attention, weight: Tensor) -> Tensor:
        """The weight of queries: what is not rotated of all heads, then what is, then its other half of the rotation."""
        nope, rope = weight.unflatten(0, (self._heads, -1)).split((self._nope, self._rope), dim=1)
        return torch.cat([part.flatten(0, 1) for part in (nope, *self._turned(attention, rope))])

    def _turned(self, attention: DeepseekV3Attention, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Rows [..., rotary dimensions, in] of which the first gives x and the second y with x cos + y sin the rotated vector."""
        if attention.config.rope_interleave:
            weight = torch.cat((weight[..., 0::2, :], weight[..., 1::2, :]), dim=-2)
        first, second = weight.chunk(2, dim=-2)
        return weight, torch.cat((-second, first), dim=-2)


class JoinedMlp:
    """A gated feed-forward layer, gate and up-projection in one product."""

    def __init__(self, mlp: DeepseekV3MLP) -> None:
        self._enter = torch.cat((whole_weight(mlp.gate_proj), whole_weight(mlp.up_proj)))
        self._leave = whole_weight(mlp.down_proj)

    def __call__(self, hidden: Tensor) -> Tensor:
        """[tokens, width] -> [tokens, width]."""
        return F.linear(_gated(F.linear(hidden, self._enter)), self._leave)


class JoinedExperts:
    """A mixture of few experts as one wide feed-forward layer, in which a token's other experts are multiplied by zero."""

    def __init__(self, mixture: DeepseekV3MoE) -> None:
        self._mixture, self._experts = mixture, mixture.experts.num_experts
        gates, ups = mixture.experts.gate_up_proj.chunk(2, 1)
        self._routed = gates.shape[0] * gates.shape[1]
        shared = mixture.shared_experts
        into = gates.flatten(0, 1), whole_weight(shared.gate_proj), ups.flatten(0, 1), whole_weight(shared.up_proj)
        self._enter = torch.cat(into)
        routed_down = mixture.experts.down_proj.transpose(0, 1).flatten(1)
        self._leave = torch.cat((routed_down, whole_weight(shared.down_proj)), dim=1)

    def __call__(self, hidden: Tensor) -> Tensor:
        """[tokens, width] -> [tokens, width]."""
        if len(hidden) > FEW_TOKENS:
            mixed: Tensor = self._mixture(hidden)
            return mixed
        # Through the module, whose choices are watched.
        _, weights, chosen = self._mixture.gate(hidden)
        inner = _gated(F.linear(hidden, self._enter))
        by_expert = inner.new_zeros(len(hidden), self._experts).scatter_(1, chosen, weights.to(inner.dtype))
        inner[:, : self._routed].unflatten(-1, (self._experts, -1)).mul_(by_expert[..., None])
        return F.linear(inner, self._leave)


class Norm:
    """A norm of transformers' in five operations."""

    def __init__(self, norm: DeepseekV3RMSNorm) -> None:
        self._weight, self._share = norm.weight, 1 / len(norm.weight)
        self._epsilon = torch.full((1,), norm.variance_epsilon, device=norm.weight.device)

    def __call__(self, hidden: Tensor) -> Tensor:
        """weight * x / sqrt(mean(x^2) + eps) for rows x [..., width]."""
        size = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True, dtype=torch.float32)
        inverse = torch.addcmul(self._epsilon, size, size, value=self._share).rsqrt_()
        return (hidden * inverse).to(hidden.dtype).mul_(self._weight)


def _feed_forward(mlp: DeepseekV3MLP | DeepseekV3MoE) -> Callable[[Tensor], Tensor]:
    if isinstance(mlp, DeepseekV3MLP):
        return JoinedMlp(mlp)
    # Adapters on the experts' weights stand around them.
    has_plain_experts = isinstance(mlp.experts, DeepseekV3Experts)
    if has_plain_experts and mlp.experts.num_experts <= FEW_EXPERTS:
        return JoinedExperts(mlp)
    module: Callable[[Tensor], Tensor] = mlp
    return module


def _gated(both: Tensor) -> Tensor:
    """silu(gate) * up, from the two side by side."""
    gate, up = both.chunk(2, -1)
    return F.silu(gate).mul_(up)
