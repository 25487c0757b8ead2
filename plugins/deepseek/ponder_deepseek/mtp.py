"""Multi-token prediction: further layers, each of which predicts the token one place further on (DeepSeek-V3, section 2.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar

import torch
import transformers
from torch import Tensor, nn
from transformers import DeepseekV3Config
from transformers.masking_utils import create_causal_mask
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3DecoderLayer, DeepseekV3RMSNorm


class MtpModule(DeepseekV3DecoderLayer):
    """One module: a decoder layer with experts on [embedding ; hidden], by the names of the released weights.

    The order of the two halves is the released weights'; equation 21 has them the other way round. The hidden states are those
    behind the final norm, of the main model or of the module before, as inference engines read the weights; the paper leaves it open.
    """

    def __init__(self, config: DeepseekV3Config, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        self.config = config
        self.enorm = DeepseekV3RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.hnorm = DeepseekV3RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.eh_proj = nn.Linear(2 * config.hidden_size, config.hidden_size, bias=False)
        self.shared_head = nn.ModuleDict({"norm": DeepseekV3RMSNorm(config.hidden_size, eps=config.rms_norm_eps)})

    def joined(self, hidden: Tensor, embedded: Tensor) -> Tensor:
        """The input of the decoder layer from hidden states and the embeddings of the tokens ahead, both [..., width]."""
        return self.eh_proj(torch.cat((self.enorm(embedded), self.hnorm(hidden)), dim=-1))

    def normed(self, hidden: Tensor) -> Tensor:
        """What the output head, and the next module, reads."""
        return self.shared_head["norm"](hidden)


class DeepseekV3ForCausalLM(transformers.DeepseekV3ForCausalLM):
    """transformers' model with its `num_nextn_predict_layers` modules, behind the layers that its forward pass goes through.

    Without modules it is the same. It has transformers' class name because that is what `save_pretrained` writes as the
    architecture: what is saved loads anywhere. Embedding and output head are the main model's, and stored once; the copies in
    the released weights are passed over. The modules are frozen: what trains them says so (`DeepseekObjective`).
    """

    _keys_to_ignore_on_load_unexpected: ClassVar = [r"model\.layers\.\d+\.(embed_tokens|shared_head\.head)\."]

    def __init__(self, config: DeepseekV3Config) -> None:
        super().__init__(config)
        first = config.num_hidden_layers
        for place in range(first, first + config.num_nextn_predict_layers):
            self.model.layers.append(MtpModule(config, place).requires_grad_(False))
        self.post_init()

    @classmethod
    def _can_set_experts_implementation(cls) -> bool:
        # transformers looks for the experts' decorator in the source file of the class, and they are in its own.
        return True


def read_ahead(model: DeepseekV3ForCausalLM, module: MtpModule, joined: Tensor) -> Tensor:
    """The module's hidden states from its whole input, both [rows, positions, width]; positions are the main model's."""
    positions = torch.arange(joined.shape[1], device=joined.device)[None]
    mask = create_causal_mask(
        config=model.config, inputs_embeds=joined, attention_mask=None, past_key_values=None, position_ids=positions
    )
    rotary = model.model.rotary_emb(joined, positions)
    return module.normed(module(joined, attention_mask=mask, position_embeddings=rotary))


def mtp_modules(model: nn.Module) -> list[MtpModule]:
    """The modules of a model, the one that predicts the token after the next first; none where it has none."""
    return [module for module in model.modules() if isinstance(module, MtpModule)]


def stored_depth(names: Iterable[str], layers: int) -> int:
    """How many modules are among the tensors of a checkpoint: many conversions leave out what the configuration promises."""
    wanted = re.compile(r"model\.layers\.(\d{1,9})\.eh_proj\.weight")
    return len([match for name in names if (match := wanted.fullmatch(name)) and int(match[1]) >= layers])
