"""The sampler `untitled`: its options and its hook. What needs torch is in `sampler.py`, so that this module stays light."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ponder import Component, Sampler, hookimpl, lazy


@dataclass(frozen=True, kw_only=True)
class UntitledConfig:
    """Draws one completion after the other, without a cache: slow, and easy to read and change."""

    temperature: float = 1.0
    """What logits are divided by."""
    max_new_tokens: int = 256
    """Longest completion, in tokens."""

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, not {self.temperature}")
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, not {self.max_new_tokens}")


@hookimpl
def ponder_samplers() -> Iterator[Component[Sampler]]:
    """The sampler of this plugin."""
    yield Component("untitled", UntitledConfig, lazy("untitled_sampler.sampler:UntitledSampler"))
