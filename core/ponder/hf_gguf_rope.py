"""Rotary scaling in GGUF files: there Llama 3's is a divisor for each frequency, in transformers a few numbers. For plugins only."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from ponder.errors import InputError

_INSTEAD: Final = "give a directory in transformers' format instead"
KIND: Final = "llama3"
NAME: Final = "rope_freqs.weight"
"""llama.cpp's tensor of the divisors."""
_PUBLISHED: Final = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""Of every Llama from 3.1 on; they differ in `factor` alone, 8 or 32."""


def divisors(config: Any) -> Tensor:
    """What each rotary frequency is divided by, [head width / 2], in float32; `config` has the scaling `llama3`."""
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    plain = config.rope_parameters["rope_theta"] ** -(torch.arange(0, width, 2, dtype=torch.float32) / width)
    scaled, _ = ROPE_INIT_FUNCTIONS[KIND](config, torch.device("cpu"))
    return plain / scaled


def scale_as_stored(model: PreTrainedModel, path: Path) -> None:
    """Give a model that transformers made of a GGUF file the file's rotary scaling, which transformers passes over.

    Raises:
        InputError: the scaling is neither none nor that of a published Llama; without it the model would be another one.
    """
    from gguf import GGUFReader

    reader = GGUFReader(path)
    stored = next((tensor for tensor in reader.tensors if tensor.name == NAME), None)
    kinds = [field.contents() for key, field in reader.fields.items() if key.endswith(".rope.scaling.type")]
    if kinds and kinds[0] != "none":
        raise InputError(f"{path} has the rotary scaling {kinds[0]!r}, which is not read from GGUF: {_INSTEAD}")
    if stored is None:
        return
    wanted, config = torch.tensor(stored.data, dtype=torch.float32), model.config
    given = {"rope_theta": config.rope_parameters["rope_theta"], "factor": wanted.max().item()}
    config.rope_parameters = {"rope_type": KIND, **given, **_PUBLISHED}
    if config.model_type != "llama" or not _agree(divisors(config), wanted):
        raise InputError(f"{path} divides rotary frequencies ({NAME}) otherwise than Llama 3 does: {_INSTEAD}")
    model.model.rotary_emb = type(model.model.rotary_emb)(config=config).to(model.device)


def _agree(ours: Tensor, stored: Tensor) -> bool:
    return ours.shape == stored.shape and torch.allclose(ours, stored, rtol=1e-4)
