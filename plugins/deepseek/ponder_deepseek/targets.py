"""What adapters go into unless a recipe says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

EXPERTS: Final = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
"""The routed experts: one weight of three dimensions for all of a layer's."""


def with_targets(lora: Mapping[str, Any]) -> dict[str, Any]:
    """The options of adapters, on the routed experts unless they name a target."""
    has_target = any(lora.get(name) for name in ("target_modules", "target_parameters"))
    return dict(lora) if has_target else {"target_parameters": EXPERTS, **lora}
