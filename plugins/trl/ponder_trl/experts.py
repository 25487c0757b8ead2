"""How models with experts are computed."""

from __future__ import annotations

from typing import TypeVar

from transformers import PreTrainedModel

ModelT = TypeVar("ModelT", bound=PreTrainedModel)


def with_fast_experts(model: ModelT) -> ModelT:
    """The model with the fastest of transformers' expert implementations that runs on every device, if it has experts."""
    if getattr(model.config, "n_routed_experts", None) or getattr(model.config, "num_experts", None):
        model.set_experts_implementation("grouped_mm")
    return model
