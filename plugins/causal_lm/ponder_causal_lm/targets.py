"""What adapters go into unless a recipe says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def with_targets(lora: Mapping[str, Any]) -> dict[str, Any]:
    """The options of adapters, on every linear layer but the output unless they name a target."""
    has_target = any(lora.get(name) for name in ("target_modules", "target_parameters"))
    return dict(lora) if has_target else {**lora, "target_modules": "all-linear"}
