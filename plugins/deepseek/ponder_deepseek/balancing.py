"""Auxiliary-loss-free load balancing: the router's selection bias follows the load of each expert."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter


class RouterBalancer:
    """Counts the tokens routed to each expert in training mode and moves each router's bias after an optimizer step.

    With loads c over the whole batch of the step: b <- b + gamma * sign(mean(c) - c) (DeepSeek-V3, section 2.1.2).
    Counting starts when the balancer is made; `close` takes its hooks off again.
    """

    def __init__(self, model: nn.Module, update_rate: float) -> None:
        self._rate = update_rate
        self._routers = [module for module in model.modules() if isinstance(module, DeepseekV3TopkRouter)]
        self._loads = [torch.zeros(router.num_experts, dtype=torch.long) for router in self._routers]
        self._hooks = [router.register_forward_hook(self._counter(place)) for place, router in enumerate(self._routers)]

    def _counter(self, place: int) -> Any:
        def count(router: nn.Module, _: Any, output: tuple[Tensor, Tensor, Tensor]) -> None:
            if router.training:
                self._loads[place] += torch.bincount(output[2].flatten().cpu(), minlength=len(self._loads[place]))

        return count

    @torch.no_grad()
    def step(self) -> dict[str, float]:
        """Move the biases by the loads since the last call; returns the largest and mean violation over the layers.

        MaxVio of a layer = (max load - mean load) / mean load.
        """
        violations = []
        for router, load in zip(self._routers, self._loads, strict=True):
            counts = load.float()
            router.e_score_correction_bias += self._rate * bias_direction(counts).to(router.e_score_correction_bias)
            violations.append(float(max_violation(counts)))
            load.zero_()
        if not violations:
            return {}
        return {"load_violation_max": max(violations), "load_violation_mean": sum(violations) / len(violations)}

    def forget(self) -> dict[str, float]:
        """Drop the loads since the last call, of a step that was not taken."""
        for load in self._loads:
            load.zero_()
        return {}

    def close(self) -> None:
        """Stop counting."""
        for hook in self._hooks:
            hook.remove()


def bias_direction(loads: Tensor) -> Tensor:
    """+1 for an underloaded expert, -1 for an overloaded one, 0 for one at the mean; loads [experts]."""
    return torch.sign(loads.mean() - loads)


def max_violation(loads: Tensor) -> Tensor:
    """MaxVio of loads [experts]: how far the fullest expert is above the mean, as a share of the mean; 0 without load."""
    mean = loads.mean()
    return (loads.max() - mean) / mean if mean > 0 else loads.new_zeros(())
