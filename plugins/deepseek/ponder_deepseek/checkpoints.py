"""Models from checkpoints in the released format: every name and shape is checked before memory is taken for the weights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import DeepseekV3Config, GenerationConfig
from transformers.initialization import no_init_weights
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter

from ponder.errors import InputError
from ponder_deepseek.mtp import DeepseekV3ForCausalLM, stored_depth
from ponder_deepseek.presets import sizes_of
from ponder_deepseek.stored import StoredTensors, read_json

ARCHITECTURE: Final = "DeepseekV3ForCausalLM"
CODE: Final = {"auto_map", "trust_remote_code"}
"""What names a repository's own code, and is dropped with all private settings."""
SHOWN: Final = 5
"""Names that a message lists."""


def load_model(directory: Path) -> DeepseekV3ForCausalLM:
    """The model of a checkpoint in evaluation mode, with as many modules for multi-token prediction as are stored.

    They stand behind the main model's layers: `model.layers.61.*` in V3 (README_WEIGHTS), whose copies of embedding and head are
    passed over.

    Raises InputError that names the file, and the tensor where there is one: missing, extra, mis-shaped, truncated, not finite.
    """
    settings = read_json(directory / "config.json")
    config = _configuration(directory, settings)
    stored = _tensors(directory, settings)
    config.num_nextn_predict_layers = stored_depth(stored.names, config.num_hidden_layers)
    with torch.device("meta"):
        _check(directory, stored, DeepseekV3ForCausalLM(config))
    dtype = config.dtype or stored.dtype("model.embed_tokens.weight")
    with no_init_weights():
        model: DeepseekV3ForCausalLM = DeepseekV3ForCausalLM._from_config(config, dtype=dtype)
    for module in model.modules():
        if isinstance(module, DeepseekV3TopkRouter):
            # Small steps of the bias would be lost in a lower precision.
            module.e_score_correction_bias = module.e_score_correction_bias.float()
    with torch.no_grad():
        for name, place in _places(model):
            place.copy_(stored.read(name, place.dtype))
    if (directory / "generation_config.json").exists():
        model.generation_config = GenerationConfig.from_pretrained(directory)
    return model.eval()


def _configuration(directory: Path, settings: dict[str, Any]) -> DeepseekV3Config:
    path = directory / "config.json"
    kind, architectures = settings.get("model_type"), settings.get("architectures") or [ARCHITECTURE]
    if kind != "deepseek_v3" or architectures != [ARCHITECTURE]:
        raise InputError(
            f"{path} describes {architectures} of type {kind!r}: policy deepseek loads {ARCHITECTURE} alone"
        )
    if settings.get("scoring_func", "sigmoid") != "sigmoid":
        raise InputError(f"{path} has scoring_func {settings['scoring_func']!r}: DeepSeek-V3's gate is a sigmoid")
    if settings.get("hidden_act", "silu") != "silu":
        raise InputError(f"{path} has hidden_act {settings['hidden_act']!r}: DeepSeek-V3's experts have silu")
    if settings.get("attention_bias", False):
        raise InputError(
            f"{path} has attention_bias {settings['attention_bias']!r}: DeepSeek-V3's attention has no biases"
        )
    kept = {
        name: value
        for name, value in settings.items()
        if name not in CODE | {"quantization_config"} and not name.startswith("_")
    }
    try:
        config: DeepseekV3Config = DeepseekV3Config.from_dict(kept)
        sizes_of(config)
    except (StrictDataclassError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} describes no model that can be: {str(error).strip()}") from None
    return config


def _tensors(directory: Path, settings: dict[str, Any]) -> StoredTensors:
    quantization = settings.get("quantization_config") or {}
    if not isinstance(quantization, dict):
        raise InputError(f"quantization_config in {directory / 'config.json'} must be an object, not {quantization!r}")
    block = quantization.get("weight_block_size") or [128, 128]
    if not (isinstance(block, list) and len(block) == 2 and all(isinstance(size, int) and size > 0 for size in block)):
        raise InputError(f"weight_block_size in {directory / 'config.json'} must be two numbers above 0, not {block!r}")
    return StoredTensors(directory, block)


def _check(directory: Path, stored: StoredTensors, model: DeepseekV3ForCausalLM) -> None:
    expected = {name: tuple(place.shape) for name, place in _places(model)}
    layers = model.config.num_hidden_layers
    extra = {name for name in stored.names - set(expected) if not _is_mtp(name, layers) and not _is_derived(name)}
    if missing := set(expected) - stored.names:
        raise InputError(f"the checkpoint {directory} lacks {_listed(missing)}, which its config.json calls for")
    if extra:
        files = stored.where(min(extra))
        raise InputError(
            f"the checkpoint {directory} has {_listed(extra)} (the first: {files}), which its config.json has no place for"
        )
    for name, shape in expected.items():
        if stored.shape(name) != shape:
            raise InputError(
                f"the checkpoint's tensor {stored.where(name)} has shape {list(stored.shape(name))}; config.json calls for {list(shape)}"
            )


def _places(model: DeepseekV3ForCausalLM) -> Iterator[tuple[str, Tensor]]:
    """Each tensor's name in the released format, and the part of the model that it fills: experts are stored one by one."""
    for name, tensor in model.state_dict().items():
        owner, _, kind = name.rpartition(".")
        if kind == "gate_up_proj":
            for expert, (gate, up) in enumerate(tensor.unflatten(1, (2, -1)).unbind()):
                yield f"{owner}.{expert}.gate_proj.weight", gate
                yield f"{owner}.{expert}.up_proj.weight", up
        elif kind == "down_proj":
            for expert, down in enumerate(tensor.unbind()):
                yield f"{owner}.{expert}.down_proj.weight", down
        elif name != "lm_head.weight" or not model.config.tie_word_embeddings:
            yield name, tensor


def _is_mtp(name: str, layers: int) -> bool:
    layer = re.match(r"model\.layers\.(\d{1,9})\.", name)
    return layer is not None and int(layer[1]) >= layers


def _is_derived(name: str) -> bool:
    """Rotary frequencies, which old versions of transformers saved."""
    return name.endswith("rotary_emb.inv_freq")


def _listed(names: set[str]) -> str:
    first = sorted(names)[:SHOWN]
    return ", ".join(first) + (f" and {len(names) - len(first)} more" if len(names) > len(first) else "")
