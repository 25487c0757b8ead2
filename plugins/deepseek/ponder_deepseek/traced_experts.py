"""The experts as torch.compile wants them: nothing is written in place, so that it joins what is between the products."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


@torch.library.custom_op("ponder_deepseek::expert_products", mutates_args=())
def expert_products(rows: Tensor, columns: Tensor, ends: Tensor) -> Tensor:
    """`grouped_mm`, which the compiler cannot look into: on a CPU it takes float32, of which its shapes without contents know nothing."""
    return F.grouped_mm(rows, columns, offs=ends)


@expert_products.register_fake
def _(rows: Tensor, columns: Tensor, ends: Tensor) -> Tensor:
    if columns.ndim == 3:
        return rows.new_empty(len(rows), columns.shape[2])
    return rows.new_empty(len(ends), len(rows), columns.shape[1])


class TracedExperts(Function):
    """What `kernels.Experts` computes, for the same arguments."""

    @staticmethod
    def forward(context: Any, hidden: Tensor, gate_up: Tensor, down: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """See the class. A token's weights are met on the experts' inner side, which is the narrower one."""
        expert, order = torch.sort(chosen.flatten(), stable=True)
        ends = torch.searchsorted(expert, torch.arange(len(down)), right=True, out_int32=True)
        places = torch.empty_like(order).scatter(0, order, torch.arange(len(order)))
        tokens, weight = order // chosen.shape[1], weights.flatten()[order][:, None]
        x = hidden[tokens]
        mixed = expert_products(x, gate_up.transpose(1, 2), ends)
        gate, up = mixed.chunk(2, 1)
        weighted = F.silu(gate) * up * weight
        y = expert_products(weighted, down.transpose(1, 2), ends)
        context.save_for_backward(x, gate_up, down, tokens, ends, places.view_as(chosen), weight, mixed, weighted)
        return y[places].unflatten(0, chosen.shape).sum(1)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, Tensor]:
        """d silu(gate) = s + silu(gate) (1 - s), with s the sigmoid of the gate."""
        x, gate_up, down, tokens, ends, places, weight, mixed, weighted = context.saved_tensors
        by_y = gradient[tokens]
        by_weighted = expert_products(by_y, down, ends)
        by_down = expert_products(by_y.t(), weighted, ends)
        gate, up = mixed.chunk(2, 1)
        sigmoid = gate.sigmoid()
        silu = gate * sigmoid
        by_weight = (by_weighted * silu * up).sum(1)
        by_gated = by_weighted * weight
        by_mixed = torch.cat((by_gated * up * (sigmoid + silu * (1 - sigmoid)), by_gated * silu), 1)
        by_gate_up = expert_products(by_mixed.t(), x, ends)
        by_hidden = expert_products(by_mixed, gate_up, ends)[places].sum(1)
        return by_hidden, by_gate_up, by_down, None, by_weight[places]
