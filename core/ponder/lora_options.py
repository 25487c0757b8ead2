"""Which of peft's options are not a recipe's to set; free of torch, for the options of policies."""

from __future__ import annotations

from typing import Final

LORA_OWNED: Final = ("task_type", "inference_mode", "base_model_name_or_path", "revision", "peft_type", "auto_mapping")
"""Keys of peft's LoraConfig that follow from the policy."""
