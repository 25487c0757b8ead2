"""The policy `untitled`: its options and its hook. What needs torch is in `policy.py`, so that this module stays light."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ponder import Component, Policy, hookimpl, lazy


@dataclass(frozen=True, kw_only=True)
class UntitledConfig:
    """A new Llama whose tokens are bytes."""

    hidden_size: int = 64
    """Width of the model."""
    layers: int = 2
    """How many layers."""
    context_length: int = 512
    """Longest sequence, in tokens."""

    def __post_init__(self) -> None:
        if self.hidden_size < 8 or self.hidden_size % 8:
            raise ValueError(f"hidden_size must be a multiple of 8, not {self.hidden_size}")
        if self.layers < 1:
            raise ValueError(f"layers must be at least 1, not {self.layers}")
        if self.context_length < 1:
            raise ValueError(f"context_length must be at least 1, not {self.context_length}")


@hookimpl
def ponder_policies() -> Iterator[Component[Policy]]:
    """The policy of this plugin."""
    yield Component("untitled", UntitledConfig, lazy("untitled_policy.policy:UntitledPolicy"))
