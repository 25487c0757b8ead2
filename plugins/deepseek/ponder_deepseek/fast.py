"""The model's layers with our kernels in them: classes that take the place of transformers' own, on the same parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Cache, DeepseekV3Config, DeepseekV3ForCausalLM
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.deepseek_v3.modeling_deepseek_v3 import (
    DeepseekV3Attention,
    DeepseekV3Experts,
    DeepseekV3RMSNorm,
    DeepseekV3TopkRouter,
    eager_attention_forward,
)

from ponder.hf_pretraining import IGNORED, label_loss
from ponder_deepseek.kernels import Experts, HeadLoss, JoinKeys, RmsNorm, RotateTail
from ponder_deepseek.routing import chosen_weights
from ponder_deepseek.traced_experts import TracedExperts

MANY = 512
"""Tokens from which going through memory costs more than starting an operation, and the kernels pay."""


def accelerate(model: DeepseekV3ForCausalLM) -> DeepseekV3ForCausalLM:
    """Give a model our layers in place, and where they do not apply the fastest expert implementation of transformers.

    Parameters, their names, hooks and what is saved stay as they are. The layers apply in float32 on a CPU to 512 tokens or more,
    experts without gradients to any number, routers everywhere; everything else runs in transformers' code.
    """
    model.set_experts_implementation("grouped_mm" if _is_aligned(model.config) else "eager")
    for module in model.modules():
        module.__class__ = _FAST.get(type(module), type(module))
    return model


def head_loss(head: nn.Linear, hidden: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy in nats over the labels [rows, length] that count, from hidden states [rows, length, width] and the output head."""
    # Not of a subclass, which may add to the product, as an adapter does.
    is_plain = type(head) is nn.Linear and head._parameters["bias"] is None
    if not (is_plain and torch.is_grad_enabled() and _pays(hidden, head.weight)):
        return label_loss(head(hidden), labels)
    total: Tensor = HeadLoss.apply(hidden.flatten(0, 1), head.weight, labels.flatten())
    return total / labels.ne(IGNORED).sum()


class FastNorm(DeepseekV3RMSNorm):
    """RMSNorm in one step."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """See transformers."""
        if not _pays(hidden_states, self.weight):
            return super().forward(hidden_states)
        normed: Tensor = RmsNorm.apply(hidden_states, self.weight, self.variance_epsilon)
        return normed


class FastRouter(DeepseekV3TopkRouter):
    """A router without choosing among groups where there is but one; for any number of tokens, precision and device."""

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See transformers."""
        if self.num_group > 1:
            choice: tuple[Tensor, Tensor, Tensor] = super().forward(hidden_states)
            return choice
        logits = F.linear(hidden_states.view(-1, self.hidden_dim).float(), self.weight.float())
        ranked = logits.sigmoid() + self.e_score_correction_bias
        return logits, *chosen_weights(self, logits, ranked.topk(self.top_k, dim=-1, sorted=False)[1])


class FastExperts(DeepseekV3Experts):
    """All experts in one step; another implementation than grouped_mm, if one is set, goes first."""

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """See transformers."""
        # Of few tokens only decoding is worth it, in which little else happens.
        pays = _pays if torch.is_grad_enabled() else _fits
        is_traced = torch.compiler.is_compiling() and self.is_traceable()
        if not (is_traced or (self._has_default() and pays(hidden_states, self.gate_up_proj))):
            return super().forward(hidden_states, top_k_index, top_k_weights)
        step = TracedExperts if is_traced else Experts
        mixed: Tensor = step.apply(hidden_states, self.gate_up_proj, self.down_proj, top_k_index, top_k_weights)
        return mixed

    def is_traceable(self) -> bool:
        """Whether `ponder.hf_compile` may compile them."""
        return self._has_default() and _fits(self.gate_up_proj, self.down_proj)

    def _has_default(self) -> bool:
        return self.config._experts_implementation == "grouped_mm" and not self._is_expert_parallel


class FastAttention(DeepseekV3Attention):
    """Latent attention whose queries and keys are rotated and joined in one step each."""

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """See transformers."""
        if not (self._has_pairs() and _pays(hidden_states, self.o_proj.weight)):
            return super().forward(hidden_states, position_embeddings, attention_mask, past_key_values, **kwargs)
        rows, length = hidden_states.shape[:-1]
        turns = torch.complex(*(part[..., : self.qk_rope_head_dim // 2] for part in position_embeddings))
        query = self._projected(hidden_states).view(rows, length, -1, self.qk_head_dim)
        query = RotateTail.apply(query, turns, self.qk_nope_head_dim)
        latent, rotary = self.kv_a_proj_with_mqa(hidden_states).split((self.kv_lora_rank, self.qk_rope_head_dim), -1)
        latent = self.kv_a_layernorm(latent).unsqueeze(1)
        rotary = RotateTail.apply(rotary.unsqueeze(2), turns, 0).transpose(1, 2)
        if past_key_values is not None:
            latent, rotary = past_key_values.update(latent, rotary, self.layer_idx)
        up = self.kv_b_proj(latent.squeeze(1)).unflatten(-1, (-1, self.qk_nope_head_dim + self.v_head_dim))
        key, value = JoinKeys.apply(up, rotary.squeeze(1), self.qk_nope_head_dim)
        out, weights = self._attend(query, key, value, attention_mask, **kwargs)
        return self.o_proj(out.reshape(rows, length, -1)), weights

    def _has_pairs(self) -> bool:
        """Whether pairs can be read as complex numbers where they stand."""
        return bool(self.config.rope_interleave) and self.kv_lora_rank % 2 == 0 and self.qk_nope_head_dim % 2 == 0

    def _projected(self, hidden: Tensor) -> Tensor:
        if self.q_lora_rank is None:
            return self.q_proj(hidden)
        return self.q_b_proj(self.q_a_layernorm(self.q_a_proj(hidden)))

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        """By the model's attention implementation; [rows, length, heads, width] -> [rows, length, heads, value width]."""
        name = self.config._attn_implementation
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(name, eager_attention_forward)
        widths = query.shape[-1], value.shape[-1]
        if name == "sdpa" and widths[0] != widths[1]:
            # The kernel that never holds all scores needs heads of one width; zeros change nothing.
            query, key, value = (F.pad(states, (0, max(widths) - states.shape[-1])) for states in (query, key, value))
        states = (states.transpose(1, 2) for states in (query, key, value))
        dropout = self.attention_dropout if self.training else 0.0
        out, weights = attend(self, *states, mask, dropout=dropout, scaling=self.scaling, **kwargs)
        return out[..., : widths[1]], weights


_FAST = {
    DeepseekV3RMSNorm: FastNorm,
    DeepseekV3TopkRouter: FastRouter,
    DeepseekV3Experts: FastExperts,
    DeepseekV3Attention: FastAttention,
}


_PLACES = {"cpu", "meta"}


def _is_aligned(config: DeepseekV3Config) -> bool:
    """Whether rows are multiples of 16 bytes in float32 and bfloat16, without which torch's grouped_mm refuses."""
    return config.hidden_size % 8 == 0 and config.moe_intermediate_size % 8 == 0


def _fits(hidden: Tensor, weight: Tensor) -> bool:
    """Whether the kernels are made for this: float32 on a CPU, or tensors without contents, with which planning plays one."""
    is_ours = all(tensor.dtype == torch.float32 and tensor.device.type in _PLACES for tensor in (hidden, weight))
    return is_ours and not torch.is_autocast_enabled("cpu")


def _pays(hidden: Tensor, weight: Tensor) -> bool:
    """Whether they are, and there is enough of it; what is being compiled is joined by the compiler."""
    return not torch.compiler.is_compiling() and _fits(hidden, weight) and hidden.numel() >= MANY * hidden.shape[-1]
