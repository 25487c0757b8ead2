"""Models whose linear layers hold frozen weights in 4 or 8 bits (bitsandbytes), to be trained through adapters. For plugins only."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from typing import Any, Final, Literal, TypeAlias

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

Bits: TypeAlias = Literal[4, 8]

BYTES: Final[dict[Bits, float]] = {4: 0.5 + 1 / 64 + 4 / (64 * 256), 8: 1.0}
"""What a weight takes: in 4 bits with a scale in 8 bits for each 64 weights, and one in 32 for each 256 scales."""
_MARKS: Final = ("is_loaded_in_4bit", "is_loaded_in_8bit", "is_quantized", "hf_quantizer", "quantization_method")
_WEIGHTS: Final = ("Params4bit", "Int8Params")
_ADDED: Final = ("lora_", ".modules_to_save.", ".trainable_tokens_")
"""What peft's names of weights that adapters bring have in them: low-rank pairs, whole copies of modules, rows of tokens."""
_AROUND: Final = (".original_module.", ".token_adapter.", ".base_layer.")
"""What peft puts into the names of the weights that it stands around."""


def quantisation(bits: Bits, compute: torch.dtype) -> BitsAndBytesConfig:
    """How transformers is to load a model: NF4 with quantised scales, as QLoRA (arXiv 2305.14314) has it, or LLM.int8()."""
    if bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )


def prepared(model: PreTrainedModel) -> PreTrainedModel:
    """The quantised model, frozen, as one that trains through adapters like any other."""
    for module in model.modules():
        # On CPUs with AVX-512 BF16, a forward pass in evaluation mode would repack the weights into a form that later backward
        # passes read wrongly: gradients then point elsewhere, and nothing says so.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    for mark in _MARKS:
        # Trainers have rules of their own for models with these: TRL rounds the adapters to BF16, transformers refuses `float()`.
        if mark in vars(model):
            delattr(model, mark)
    # It says with every product that inputs in float32 are rounded.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model.requires_grad_(False)


def offsets(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The mean that was taken off the scales of each weight in 4 bits before they were quantised in turn; no state dict has it."""
    for name, weight in model.named_parameters():
        offset = getattr(getattr(weight, "quant_state", None), "offset", None)
        if offset is not None:
            yield name, offset


def is_quantised(model: nn.Module) -> bool:
    """Whether any of its weights is held in 4 or 8 bits."""
    return any(type(parameter).__name__ in _WEIGHTS for parameter in model.parameters())


def dequantised(model: PreTrainedModel) -> PreTrainedModel:
    """A copy in whole numbers of the model's own precision, adapters left out: what the quantised one computes with."""
    with torch.device("meta"):
        made: PreTrainedModel = AutoModelForCausalLM.from_config(copy.deepcopy(model.config), dtype=model.dtype)
    weights = {name: tensor.to(model.dtype).clone() for name, tensor in _whole(model)}
    buffers = dict(model.named_buffers())
    made.load_state_dict(weights, strict=False, assign=True)
    for name, buffer in list(made.named_buffers()):
        # Those that are not saved, such as the frequencies of rotary positions.
        parent, _, last = name.rpartition(".")
        made.get_submodule(parent)._buffers[last] = buffers[name].clone() if buffer.is_meta else buffer
    made.tie_weights()
    made.generation_config = copy.deepcopy(model.generation_config)
    return made.eval()


def _whole(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Each weight by the name that it has without adapters."""
    for name, parameter in model.named_parameters():
        if any(mark in name for mark in _ADDED):
            continue
        module, plain = model.get_submodule(name.rpartition(".")[0]), name
        for wrapping in _AROUND:
            plain = plain.replace(wrapping, ".")
        yield plain, _dequantised_weight(module, parameter) if name.endswith(".weight") else parameter.data


def _dequantised_weight(module: Any, weight: nn.Parameter) -> Tensor:
    from transformers.integrations.bitsandbytes import dequantize_bnb_weight

    whole: Tensor = dequantize_bnb_weight(weight, getattr(module, "state", None))
    return whole.data
