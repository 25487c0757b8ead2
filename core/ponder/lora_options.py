"""Which of peft's options are not a recipe's to set, or do not go together; free of torch, for the options of policies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

LORA_OWNED: Final = ("task_type", "inference_mode", "base_model_name_or_path", "revision", "peft_type", "auto_mapping")
"""Keys of peft's LoraConfig that follow from the policy."""

LORA_TYPES: Final[Mapping[str, Any]] = {"init_lora_weights": Any, "lora_alpha": float}
"""What may be given where peft's annotation is not right: `check_lora` tells how adapters may begin, and alpha is any number."""

_STARTS: Final = (True, "gaussian", "orthogonal", "mica")
"""Values of `init_lora_weights` with which new adapters change neither the model's outputs nor the weights below them."""


def check_lora(lora: Mapping[str, Any], bits: int | None = None) -> None:
    """Raise ValueError for options of adapters with which training, or saving what was trained, would go wrong.

    `bits` is what a weight below them takes where it is quantised.
    """
    start = lora.get("init_lora_weights", True)
    if (start.lower() if isinstance(start, str) else start) not in _STARTS:
        raise ValueError(
            f"lora.init_lora_weights: {start} is not offered: without its adapters the model has to be the one that the stage "
            "began with, which KL terms hold on to, and such adapters change the weights or outputs at once, or are computed "
            "from data: leave it out, or use gaussian, orthogonal or mica"
        )
    if lora.get("r", 1) < 1:
        raise ValueError(f"lora.r: the rank of adapters must be at least 1, not {lora['r']}")
    if not 0 <= lora.get("lora_dropout", 0) < 1:
        raise ValueError(f"lora.lora_dropout: must be at least 0 and below 1, not {lora['lora_dropout']}")
    if lora.get("bias", "none") != "none":
        raise ValueError(
            f"lora.bias: {lora['bias']} is not offered: it trains biases of the model itself, which do not go when adapters are left "
            "out, so that the model that the stage began with, which KL terms hold on to, would change with them: leave it out"
        )
    if lora.get("use_dora") and bits == 8:
        raise ValueError(
            "lora.use_dora: peft cannot train DoRA over weights in 8 bits: set load_in_4bit instead, or leave out use_dora"
        )
    if lora.get("lora_bias"):
        raise ValueError(
            "lora.lora_bias: adapters with a bias cannot be merged into layers that have none, so what is trained could not be "
            "saved: leave it out"
        )
