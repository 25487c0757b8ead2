"""Which experts the routers of a DeepSeek-V3 choose: watched while it runs, and replayed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter

from ponder.hf_routing import OWN_CHOICE, Choices
from ponder_deepseek.balancing import RouterBalancer
from ponder_deepseek.mtp import DeepseekV3ForCausalLM

Choice: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""What a router returns: logits [tokens, experts] in float32, weights [tokens, chosen], experts [tokens, chosen]."""


class DeepseekRouters:
    """The routers of the main model, in order of layers; see `ponder.hf_routing.Routers`."""

    def __init__(self, model: DeepseekV3ForCausalLM) -> None:
        self._model = model
        layers = model.model.layers[: model.config.num_hidden_layers]
        self._routers = [module for module in layers.modules() if isinstance(module, DeepseekV3TopkRouter)]

    @property
    def experts(self) -> int:
        """See `Routers`."""
        return int(self._model.config.n_routed_experts)

    @contextmanager
    def watching(self) -> Iterator[Choices]:
        """See `Routers`."""
        choices = Choices(len(self._routers))

        def note(place: int, router: nn.Module, _: object, choice: Choice) -> None:
            choices.add(place, choice[2])

        with _hooked(self._routers, note):
            yield choices

    @contextmanager
    def replaying(self, experts: Tensor) -> Iterator[None]:
        """See `Routers`."""
        by_layer = experts.flatten(0, -3).unbind(1)

        def replace(place: int, router: DeepseekV3TopkRouter, _: object, choice: Choice) -> Choice:
            logits, _, own = choice
            recorded = by_layer[place].to(own)
            return logits, *chosen_weights(router, logits, torch.where(recorded == OWN_CHOICE, own, recorded))

        with _hooked(self._routers, replace):
            yield

    def balancer(self) -> RouterBalancer:
        """See `Routers`."""
        return RouterBalancer(self._model)


def chosen_weights(router: DeepseekV3TopkRouter, logits: Tensor, experts: Tensor) -> tuple[Tensor, Tensor]:
    """The weights of these `experts` [tokens, chosen] under the router's `logits`, with gradient, and the experts again."""
    weights = logits.sigmoid().gather(1, experts)
    if router.norm_topk_prob:
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
    return weights * router.routed_scaling_factor, experts


@contextmanager
def _hooked(routers: Sequence[nn.Module], hook: Callable[..., Choice | None]) -> Iterator[None]:
    """Call `hook` with a router's place, the router, its inputs and its choice; a choice that it returns takes effect."""
    handles = [router.register_forward_hook(partial(hook, place)) for place, router in enumerate(routers)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
