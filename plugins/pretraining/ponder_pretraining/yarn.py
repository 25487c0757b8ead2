"""YaRN (arXiv 2309.00071) on a model in memory: what transformers would build from a configuration with these rope parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ponder.errors import InputError


@dataclass(frozen=True, slots=True)
class Yarn:
    """How positions are scaled; see `ExtendContextConfig` for alpha, beta and mscale."""

    factor: float
    original_length: int
    alpha: float
    beta: float
    mscale: float

    @property
    def length(self) -> int:
        """The longest sequence that the scaling is made for."""
        return round(self.factor * self.original_length)

    @property
    def temperature(self) -> float:
        """m: the attention logits are multiplied by its square."""
        return 0.1 * self.mscale * math.log(self.factor) + 1.0


def original_length(model: PreTrainedModel, given: int | None) -> int:
    """The longest sequence before any extension: as given, or else as the configuration has it.

    Raises:
        InputError: the model's positions cannot be scaled, or are scaled in another way already.
    """
    config = model.config
    parameters = getattr(config, "rope_parameters", None)
    if not isinstance(parameters, dict) or "rope_theta" not in parameters:
        raise InputError(
            f"the context of a {config.model_type} model cannot be extended with YaRN: its configuration has no single set of "
            "rotary positions (rope_parameters)"
        )
    if (kind := parameters.get("rope_type", "default")) not in ("default", "yarn"):
        raise InputError(
            f"the policy's positions are already scaled by {kind!r}, and YaRN starts from unscaled ones: extend a policy from "
            "before that scaling"
        )
    if given is not None:
        return given
    return int(parameters.get("original_max_position_embeddings") or config.max_position_embeddings)


def apply_yarn(model: PreTrainedModel, yarn: Yarn) -> None:
    """Scale the model's positions, and write the scaling and the new length into its configuration.

    The rotary embeddings and the softmax scale become those of a model that transformers makes from that configuration.
    """
    config = model.config
    scaling = {
        "rope_type": "yarn",
        "factor": float(yarn.factor),
        "original_max_position_embeddings": yarn.original_length,
        "beta_fast": float(yarn.beta),
        "beta_slow": float(yarn.alpha),
        **_temperature_parameters(config, yarn),
    }
    kept = {name: config.rope_parameters[name] for name in _KEPT if name in config.rope_parameters}
    config.max_position_embeddings = yarn.length
    config.rope_parameters = {**kept, **scaling}
    with torch.device("meta"):
        like = type(model)(config)
    for name, module in like.named_modules():
        if hasattr(module, "inv_freq"):
            made = type(module)(config).to(model.device)
            model.set_submodule(name, made.train(model.training))
        elif isinstance(scale := getattr(module, "scaling", None), float):
            _attention(model, name).scaling = scale


_KEPT = ("rope_theta", "partial_rotary_factor")


def _temperature_parameters(config: Any, yarn: Yarn) -> dict[str, float]:
    if hasattr(config, "qk_rope_head_dim"):
        # Equal ones leave the rotary embeddings unscaled, and the second scales the softmax of latent attention.
        return {"mscale": float(yarn.mscale), "mscale_all_dim": float(yarn.mscale)}
    return {"attention_factor": yarn.temperature}


def _attention(model: PreTrainedModel, name: str) -> Any:
    module: nn.Module = model.get_submodule(name)
    return module
