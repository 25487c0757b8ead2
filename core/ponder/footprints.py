"""What a policy holds and computes, as planning sees it; nothing here needs torch.

The options of a policy may have a method `footprint() -> Footprint`; it allocates no weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

Kernels: TypeAlias = Literal["cpu", "gpu"]
"""Whose attention: torch's on a CPU, which may hold a table of scores, or one on a GPU that never does."""

FORWARD: Final = 2
"""Floating-point operations for each weight that a token is multiplied with: a product and a sum."""


@dataclass(frozen=True, slots=True)
class Attention:
    """Layers that attend alike."""

    layers: int
    operations: int
    """Floating-point operations of one layer for each token that another attends to: 2 heads x (width of a key + width of a value)."""
    values: int
    """Numbers that one layer keeps of each token while decoding."""
    window: int | None = None
    """The furthest back that a token attends, in tokens; None reads everything."""

    def attended(self, length: int) -> float:
        """Tokens that a token attends to on average, in a causal sequence of `length`."""
        if self.window is None or self.window >= length:
            return length / 2
        return self.window - self.window**2 / (2 * length)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What a causal language model holds, and what each token passes through."""

    parameters: int
    trainable: int
    active: int
    """Parameters that a token passes through: all but the input embedding and the experts it is not routed to."""
    multiplied: int
    """Those of them that are matrices: norms and biases cost next to nothing."""
    multiplied_trainable: int
    """Those of them that are trained."""
    attention: tuple[Attention, ...]
    context: int
    """Longest sequence, in tokens."""
    quantised: int = 0
    """Parameters that are held, frozen, in fewer bits than the others."""
    quantised_bytes: float = 0.0
    """What one of them takes."""
    moment_bytes: int | None = None
    """What the policy's own optimizer keeps of a parameter besides it; None where it is AdamW's two moments as elsewhere."""

    @property
    def cached_values(self) -> int:
        """Numbers that decoding keeps of each token."""
        return sum(kind.layers * kind.values for kind in self.attention)

    def forward(self, length: int) -> float:
        """Floating-point operations to read a token, on average over a sequence of `length`."""
        return FORWARD * self.multiplied + self._attention(length)

    def training(self, length: int) -> float:
        """Floating-point operations to train on a token: the backward pass costs the forward pass twice.

        Once for the gradients of what a matrix reads, and once for those of its weights, where they are trained. What is
        computed again to save memory is not counted.
        """
        products = FORWARD * (2 * self.multiplied + self.multiplied_trainable)
        return products + 3 * self._attention(length)

    def _attention(self, length: int) -> float:
        return sum(kind.layers * kind.operations * kind.attended(length) for kind in self.attention)


@dataclass(frozen=True, slots=True)
class StepMemory:
    """What a forward and backward pass holds besides weights and optimizer state, in bytes."""

    activations: int
    """The most at any time, gradients of weights not counted."""
    peak: int
    """The most at any time, gradients of weights included."""


class Footprint(Protocol):
    """A policy's sizes, and what training it takes."""

    @property
    def sizes(self) -> Sizes:
        """What it holds and computes."""
        ...

    def step(self, rows: int, length: int, *, value_bytes: int, kernels: Kernels) -> StepMemory:
        """What a pass over `rows` sequences of `length` tokens holds, with numbers of 4 or 2 bytes."""
        ...
