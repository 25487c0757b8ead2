"""The footprint of a transformers model, counted on the meta device: no weights are allocated. For plugins only."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Final, TypeAlias

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from ponder.errors import InputError
from ponder.footprints import Attention, Kernels, Sizes, StepMemory
from ponder.hf import active_shares
from ponder.hf_trace import Loss, loss_of_logits, step_memory
from ponder.published import COMPARED_LENGTH

_TRACED_WHOLE: Final = 4
"""Layers up to which a model is traced whole; of more, one or two of each kind are, and the rest is added up."""

_Kind: TypeAlias = tuple[tuple[str, tuple[int, ...]], ...]
"""What tells a layer from another: the shapes of its parameters."""


class ModelFootprint:
    """The footprint of the causal language model that a configuration describes; see `ponder.footprints.Footprint`.

    `adapt` changes the model before it is counted, as adding adapters does; `loss` is what a training step of it goes back from.
    """

    def __init__(
        self,
        config: PreTrainedConfig,
        adapt: Callable[[PreTrainedModel], object] | None = None,
        loss: Loss = loss_of_logits,
    ) -> None:
        self._config = config
        self._adapt = adapt
        self._loss = loss
        self._steps: dict[tuple[object, ...], StepMemory] = {}

    @cached_property
    def sizes(self) -> Sizes:
        """See `Footprint`."""
        return sizes_of(self._model)

    def step(self, rows: int, length: int, *, value_bytes: int, kernels: Kernels) -> StepMemory:
        """See `Footprint`."""
        key = (rows, length, value_bytes, kernels)
        if key not in self._steps:
            dtype = torch.float32 if value_bytes == torch.float32.itemsize else torch.bfloat16
            self._steps[key] = self._traced(rows, length, dtype, kernels)
        return self._steps[key]

    def _traced(self, rows: int, length: int, dtype: torch.dtype, kernels: Kernels) -> StepMemory:
        def traced(kept: Mapping[_Kind, int]) -> StepMemory:
            try:
                return step_memory(_shortened(self._model, kept).to(dtype), rows, length, kernels, self._loss)
            except (RuntimeError, NotImplementedError) as error:
                name = type(self._model).__name__
                raise InputError(f"{name} computes by what its tensors hold, and cannot be traced: {error}") from error

        kinds = Counter(_kind(layer) for layer in layers_of(self._model)[1])
        if sum(kinds.values()) <= _TRACED_WHOLE:
            return traced(kinds)
        least = dict.fromkeys(kinds, 1)
        base = traced(least)
        activations, peak = base.activations, base.peak
        for kind, count in kinds.items():
            if count > 1:
                more = traced({**least, kind: 2})
                activations += (count - 1) * (more.activations - base.activations)
                peak += (count - 1) * (more.peak - base.peak)
        return StepMemory(activations, peak)

    @cached_property
    def _model(self) -> PreTrainedModel:
        with torch.device("meta"):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(self._config, dtype=torch.float32)
        if hasattr(model.config, "num_experts_per_tok"):
            model.set_experts_implementation("grouped_mm")
        if self._adapt is not None:
            self._adapt(model)
        return model.train()


def sizes_of(model: PreTrainedModel) -> Sizes:
    """Count a model's parameters, what a token is multiplied with, and what it attends to."""
    active = [(parameter, share * parameter.numel()) for parameter, share in active_shares(model)]
    matrices = [(parameter, count) for parameter, count in active if parameter.ndim > 1]
    parameters = list(model.parameters())
    return Sizes(
        parameters=sum(parameter.numel() for parameter in parameters),
        trainable=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        active=round(sum(count for _, count in active)),
        multiplied=round(sum(count for _, count in matrices)),
        multiplied_trainable=round(sum(count for parameter, count in matrices if parameter.requires_grad)),
        attention=tuple(_attention(model.config)),
        context=getattr(model.config, "max_position_embeddings", None) or COMPARED_LENGTH,
    )


def _attention(config: PreTrainedConfig) -> Iterator[Attention]:
    """Full layers and those with a window; layers that do not attend (linear, convolutional) are left out."""
    heads = getattr(config, "num_attention_heads", None)
    if not heads:
        return
    if getattr(config, "kv_lora_rank", None):
        key, value = config.qk_nope_head_dim + config.qk_rope_head_dim, config.v_head_dim
        cached = config.kv_lora_rank + config.qk_rope_head_dim
    else:
        key = value = getattr(config, "head_dim", None) or config.hidden_size // heads
        cached = 2 * value * (getattr(config, "num_key_value_heads", None) or heads)
    usual = "sliding_attention" if getattr(config, "sliding_window", None) else "full_attention"
    types = getattr(config, "layer_types", None) or [usual] * config.num_hidden_layers
    for kind, layers in Counter(types).items():
        window = config.sliding_window if kind == "sliding_attention" else None
        if kind in ("full_attention", "sliding_attention"):
            yield Attention(layers, 2 * heads * (key + value), cached, window)


def layers_of(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """The decoder layers, and their name in the model."""
    depth = model.config.num_hidden_layers
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return name, module
    raise InputError(f"{type(model).__name__} has no list of its {depth} layers")


def _kind(layer: nn.Module) -> _Kind:
    return tuple((name, tuple(parameter.shape)) for name, parameter in layer.named_parameters())


def _shortened(model: PreTrainedModel, kept: Mapping[_Kind, int]) -> PreTrainedModel:
    """A copy of the model with so many layers of each kind, the first ones."""
    name, layers = layers_of(model)
    left = dict(kept)
    chosen = []
    for layer in layers:
        kind = _kind(layer)
        if left[kind] > 0:
            left[kind] -= 1
            chosen.append(layer)
    model.set_submodule(name, nn.ModuleList(chosen))
    try:
        return copy.deepcopy(model)
    finally:
        model.set_submodule(name, layers)
