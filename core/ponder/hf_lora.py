"""Low-rank adapters (LoRA, arXiv 2106.09685) through peft, in modules and in expert weights of three dimensions. For plugins only.

Adapters are put into a model in place: it keeps its class, and what samples or trains it need not know of them. A policy is
saved with its adapters merged, so that it loads anywhere, and the next stage that trains it puts fresh ones into the merged weights.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch
from peft import LoraConfig, LoraModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import PreTrainedModel

from ponder.errors import InputError

_NAME: Final = "default"


class Adapters:
    """The adapters in a model, new ones: its other weights are frozen, and its outputs are as they were."""

    def __init__(self, model: PreTrainedModel, options: Mapping[str, Any], seed: int = 0) -> None:
        """Put them in; `options` are fields of peft's LoraConfig. Raises InputError when they fit nothing."""
        _check_targets(model, options)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._tuner = _tuner(model, options)

    def merged(self) -> PreTrainedModel:
        """A copy of the model in which the adapters are part of the weights."""
        model: PreTrainedModel = copy.deepcopy(self._tuner).merge_and_unload()
        return model

    @contextmanager
    def left_out(self) -> Iterator[None]:
        """The model computes as it did before it was given adapters."""
        self._tuner.disable_adapter_layers()
        try:
            yield
        finally:
            self._tuner.enable_adapter_layers()


def whole_weight(module: nn.Module) -> Tensor:
    """A linear module's weight [out, in], with what active adapters add to it."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    if isinstance(module, LoraLayer) and not module.disable_adapters:
        for name in module.active_adapters:
            weight = weight + module.get_delta_weight(name)
    return weight


def _tuner(model: PreTrainedModel, options: Mapping[str, Any]) -> LoraModel:
    try:
        # peft looks for modules of its own choice when it is given none.
        config = LoraConfig(**{"target_modules": [], **options})
        return LoraModel(model, {_NAME: config}, _NAME)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"lora: peft refuses these options: {error}") from error


def _check_targets(model: PreTrainedModel, options: Mapping[str, Any]) -> None:
    modules = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    parameters = [name for name, parameter in model.named_parameters() if parameter.ndim > 1]
    for option, known in (("target_modules", modules), ("target_parameters", parameters)):
        targets = options.get(option) or []
        # A string is a regular expression, or all-linear: peft itself says when it fits nothing.
        for target in [] if isinstance(targets, str) else targets:
            if not any(name == target or name.endswith(f".{target}") for name in known):
                there = sorted(set(map(_without_place, known)))
                raise InputError(
                    f"lora.{option}: nothing in the model is called {target!r}; there are {', '.join(there)}"
                )


def _without_place(name: str) -> str:
    """A weight's name from behind the number of its layer."""
    parts = name.split(".")
    places = [place for place, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[places[-1] + 1 :] if places else parts)
