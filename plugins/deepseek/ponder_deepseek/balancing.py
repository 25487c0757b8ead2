"""Load balancing: a selection bias that follows the load of each expert, and the loss that keeps a sequence from extremes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, distributed, nn
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter


class RouterBalancer:
    """Counts the tokens given to each expert, and moves each router's bias after an optimizer step.

    With loads c over the whole batch of the step, of all micro-batches and ranks: b <- b + gamma * sign(mean(c) - c)
    (DeepSeek-V3, section 2.1.2; its gamma is 0.001).
    """

    def __init__(self, model: nn.Module) -> None:
        self._routers = [module for module in model.modules() if isinstance(module, DeepseekV3TopkRouter)]
        self._counting = [_no_load(router) for router in self._routers]
        self._last = self._counting

    @contextmanager
    def counting(self, counted: Tensor) -> Iterator[list[Tensor]]:
        """Count the forward passes within, over the tokens for which `counted` [rows, length] is true.

        Yields the logits [tokens, experts] of each router that reads these tokens, with gradient, as they come. One that reads
        others, as that of a multi-token-prediction module may, counts all of them.
        """
        logits: list[Tensor] = []
        hooks = [
            router.register_forward_hook(partial(self._count, place, counted.flatten(), logits))
            for place, router in enumerate(self._routers)
        ]
        try:
            yield logits
        finally:
            for hook in hooks:
                hook.remove()

    @torch.no_grad()
    def step(self, rate: float) -> dict[str, float]:
        """Move the biases by `rate`, gamma, against the loads since the last call, and return what these were like.

        `load_violation_max` and `load_violation_mean` are over layers, `dead_experts` counts those of all layers without a token.
        """
        self._last = [_summed_over_ranks(load) for load in self._counting]
        self._counting = [_no_load(router) for router in self._routers]
        for router, load in zip(self._routers, self._last, strict=True):
            if rate:
                direction = bias_direction(load.float())
                router.e_score_correction_bias += rate * direction.to(router.e_score_correction_bias)
        if not self._last:
            return {}
        violations = [float(max_violation(load.float())) for load in self._last]
        return {
            "load_violation_max": max(violations),
            "load_violation_mean": sum(violations) / len(violations),
            "dead_experts": float(sum(int((load == 0).sum()) for load in self._last)),
        }

    def forget(self) -> dict[str, float]:
        """Drop the loads since the last call, of a step that was not taken."""
        self._counting = [_no_load(router) for router in self._routers]
        self._last = self._counting
        return {}

    def loads(self) -> list[list[int]]:
        """Tokens given to each expert of each layer in the last step."""
        return [load.tolist() for load in self._last]

    def _count(
        self,
        place: int,
        counted: Tensor,
        logits: list[Tensor],
        router: nn.Module,
        _: object,
        choice: tuple[Tensor, Tensor, Tensor],
    ) -> None:
        chosen = choice[2]
        is_of_batch = len(chosen) == len(counted)
        ones = counted.long()[:, None].expand_as(chosen) if is_of_batch else torch.ones_like(chosen)
        self._counting[place].scatter_add_(0, chosen.flatten(), ones.flatten())
        if is_of_batch:
            logits.append(choice[0])


def bias_direction(loads: Tensor) -> Tensor:
    """+1 for an underloaded expert, -1 for an overloaded one, 0 for one at the mean; loads [experts]."""
    return torch.sign(loads.mean() - loads)


def max_violation(loads: Tensor) -> Tensor:
    """MaxVio of loads [experts]: how far the fullest expert is above the mean, as a share of the mean; 0 without load."""
    mean = loads.mean()
    return (loads.max() - mean) / mean if mean > 0 else loads.new_zeros(())


def balance_loss(logits: Sequence[Tensor], counted: Tensor, chosen: int, *, is_over_batch: bool = False) -> Tensor:
    """The balance loss before its factor alpha: summed over layers, the mean over sequences; a layer in balance has 1.

    `logits` holds [rows * length, experts] of each layer, `counted` [rows, length] is true where a token is no padding. The report
    does not say how layers and sequences are put together; this is as in the code that was released with DeepSeek-V2. A row is a
    sequence, or `is_over_batch` the whole batch is one (section 4.5.3).
    """
    parts = []
    for of_layer in logits:
        scores, weights = of_layer.sigmoid().view(*counted.shape, -1), counted
        if is_over_batch:
            scores, weights = scores.flatten(0, 1)[None], counted.flatten()[None]
        parts.append(imbalance(scores, weights, chosen).mean())
    return torch.stack(parts).sum()


def imbalance(scores: Tensor, counted: Tensor, chosen: int) -> Tensor:
    """Sum over experts of f_i P_i of each sequence [rows] (DeepSeek-V3, equations 17 to 20); 1 when the experts share alike.

    `scores` s [rows, length, experts] lie above 0, `counted` [rows, length] is true for the tokens of a sequence, `chosen` is K_r. As
    printed, f_i counts the largest scores without the bias, and without the limit to groups.
    """
    experts = scores.shape[-1]
    weights = counted.to(scores)[..., None]
    tokens = weights.sum(1).clamp(min=1)
    picked = torch.zeros_like(scores).scatter(-1, scores.topk(chosen, dim=-1).indices, 1.0)
    frequency = (picked * weights).sum(1) * experts / (chosen * tokens)
    probability = (scores / scores.sum(-1, keepdim=True) * weights).sum(1) / tokens
    return (frequency * probability).sum(-1)


def _no_load(router: DeepseekV3TopkRouter) -> Tensor:
    return torch.zeros(router.num_experts, dtype=torch.long, device=router.weight.device)


def _summed_over_ranks(load: Tensor) -> Tensor:
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(load)
    return load
