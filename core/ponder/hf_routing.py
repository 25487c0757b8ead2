"""What samplers and trainers share about a mixture of experts: which experts worked on a token. For plugins only."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final, Protocol

import torch
from torch import Tensor

from ponder.types import Routing

if TYPE_CHECKING:
    from ponder.interfaces import Policy

OWN_CHOICE: Final = -1
"""In place of a recorded expert: the router chooses itself."""

_NUMBERS: Final = {1: torch.uint8, 2: torch.int16}
"""The type of a number of so many bytes; two bytes hold the number of any expert there is."""


class Choices:
    """The experts that routers chose, layer by layer as forward passes ran."""

    def __init__(self, layers: int) -> None:
        self._of_layers: list[list[Tensor]] = [[] for _ in range(layers)]

    def add(self, layer: int, experts: Tensor) -> None:
        """Note the experts [tokens, chosen] of the next tokens in a layer, counted from 0."""
        self._of_layers[layer].append(experts)

    def take(self) -> Tensor:
        """The experts [tokens, layers, chosen] since the last call, in the order in which the model read the tokens."""
        layers = [torch.cat(parts) for parts in self._of_layers]
        for parts in self._of_layers:
            parts.clear()
        return torch.stack(layers, 1)


class Balancer(Protocol):
    """Keeps the experts of a policy evenly loaded while it is trained."""

    def counting(self, counted: Tensor) -> AbstractContextManager[object]:
        """Within, forward passes count towards the loads, for the tokens for which `counted` [rows, length] is true."""
        ...

    def step(self, rate: float) -> dict[str, float]:
        """After an optimizer step: act at this rate on the loads since the last call; returns metrics of them.

        A rate of 0 only measures.
        """
        ...

    def forget(self) -> dict[str, float]:
        """The step was not taken: drop the loads since the last call."""
        ...

    def loads(self) -> list[list[int]]:
        """Tokens given to each expert of each layer in the last step."""
        ...


class Routers(Protocol):
    """The routers of a mixture of experts, in order of layers.

    A policy that is one has a method `routers() -> Routers`. Its model's forward calls the routers, on tokens in the order of its
    input, both in training and in its `decoder()`.
    """

    @property
    def experts(self) -> int:
        """Routed experts of a layer."""
        ...

    def watching(self) -> AbstractContextManager[Choices]:
        """Note which experts are chosen in the forward passes within."""
        ...

    def replaying(self, experts: Tensor) -> AbstractContextManager[None]:
        """Within, a forward pass on [rows, length] tokens gives each to `experts` [rows, length, layers, chosen].

        Their weights are those of the current scores, with gradient; the choice alone is replayed. At `OWN_CHOICE` the router
        chooses. Entered within `watching`, the choices that are noted are the routers' own.
        """
        ...

    def balancer(self) -> Balancer:
        """What keeps the experts evenly loaded."""
        ...


def routers_of(policy: Policy) -> Routers | None:
    """The policy's routers; None when it is no mixture of experts, or keeps them to itself."""
    make = getattr(policy, "routers", None)
    routers: Routers | None = make() if make else None
    return routers


def pack_routing(experts: Tensor, count: int) -> Routing:
    """`experts` [tokens, layers, chosen] of `count` as a record: a byte each when that holds them."""
    width = 1 if count <= 1 << 8 else 2
    numbers = experts.to("cpu", _NUMBERS[width]).contiguous()
    _, layers, chosen = numbers.shape
    return Routing(numbers.view(torch.uint8).numpy().tobytes(), layers, chosen, width)


def unpack_routing(routing: Routing) -> Tensor:
    """The experts [tokens, layers, chosen], int64, of a record."""
    numbers = torch.frombuffer(bytearray(routing.experts), dtype=_NUMBERS[routing.width])
    return numbers.view(-1, routing.layers, routing.chosen).long()


def pad_routing(routings: Sequence[Tensor], length: int) -> Tensor:
    """[rows, length, layers, chosen] of experts [tokens, layers, chosen] each; behind its end a row has `OWN_CHOICE`."""
    padded = torch.full((len(routings), length, *routings[0].shape[1:]), OWN_CHOICE)
    for place, experts in enumerate(routings):
        padded[place, : len(experts)] = experts[:length]
    return padded
