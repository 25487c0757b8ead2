"""Steps of the model that go through memory fewer times than a chain of operations does, with gradients by hand. For float32 on a CPU.

Each equals the chain of operations that transformers runs up to rounding, in value and gradient; none has a second derivative.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

NEAR = 2**19
"""Numbers that a core's cache holds, 2 MB of them."""
FEWEST_TOKENS = 64
"""That a product with all of the vocabulary is started for."""


class RmsNorm(Function):
    """weight * x / sqrt(mean(x^2) + eps) for rows x [..., width]."""

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        """See the class."""
        mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1])
        inverse = mean_square.add_(epsilon).rsqrt_()
        context.save_for_backward(x, weight, inverse)
        return torch.mul(x, inverse).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        """d weight = sum_rows g x r; d x = r g weight - x r^3 mean(g weight x), with r the inverse root."""
        x, weight, inverse = context.saved_tensors
        product = torch.mul(gradient, x).view(-1, len(weight))
        r = inverse.view(-1, 1)
        along = product.mv(weight).view_as(r).mul_(r.pow(3)).div_(len(weight))
        by_weight = product.t().mv(r.view(-1))
        by_x = product.copy_(gradient.reshape(product.shape)).mul_(weight).mul_(r)
        return by_x.addcmul_(x.reshape(product.shape), along, value=-1).view_as(x), by_weight, None


class RotateTail(Function):
    """Rotates the last dimensions of each head of x [rows, length, heads, width], in pairs; the first `kept` stay as they are.

    `turns` [1 or rows, length, pairs] are complex numbers of norm 1 (or YaRN's factor). The pairs (x0, x1), (x2, x3), ...
    come out as (evens | odds), as in transformers, which leaves products of queries with keys unchanged.
    """

    @staticmethod
    def forward(context: Any, x: Tensor, turns: Tensor, kept: int) -> Tensor:
        """See the class."""
        context.save_for_backward(turns)
        context.kept = kept
        turned = torch.view_as_complex(x[..., kept:].unflatten(-1, (-1, 2))) * turns.unsqueeze(2)
        out = torch.empty_like(x)
        out[..., :kept] = x[..., :kept]
        out[..., kept:].unflatten(-1, (2, -1)).copy_(torch.view_as_real(turned).transpose(-1, -2))
        return out

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """The rotation back."""
        (turns,) = context.saved_tensors
        kept = context.kept
        halves = gradient[..., kept:].unflatten(-1, (2, -1)).transpose(-1, -2).contiguous()
        turned = torch.view_as_complex(halves) * turns.conj().unsqueeze(2)
        out = torch.empty_like(gradient, memory_format=torch.contiguous_format)
        out[..., :kept] = gradient[..., :kept]
        out[..., kept:].unflatten(-1, (-1, 2)).copy_(torch.view_as_real(turned))
        return out, None, None


class JoinKeys(Function):
    """Keys [rows, length, heads, nope + rope] and values from the up-projected latent and the rotary key that heads share.

    `up` [rows, length, heads, nope + value], `rotary` [rows, length, rope].
    """

    @staticmethod
    def forward(context: Any, up: Tensor, rotary: Tensor, nope: int) -> tuple[Tensor, Tensor]:
        """See the class."""
        context.nope = nope
        keys = up.new_empty(*up.shape[:-1], nope + rotary.shape[-1])
        keys[..., :nope] = up[..., :nope]
        keys[..., nope:] = rotary.unsqueeze(2)
        return keys, up[..., nope:]

    @staticmethod
    @once_differentiable
    def backward(context: Any, by_keys: Tensor, by_values: Tensor) -> tuple[Tensor, Tensor, None]:
        """The shared rotary key gathers from all heads."""
        nope = context.nope
        up = by_keys.new_empty(*by_keys.shape[:-1], nope + by_values.shape[-1])
        up[..., :nope] = by_keys[..., :nope]
        up[..., nope:] = by_values
        return up, by_keys[..., nope:].sum(2), None


class HeadLoss(Function):
    """The summed cross-entropy in nats of labels [tokens] under the logits hidden [tokens, width] @ weight [vocabulary, width]^T.

    A label below zero does not count. The logits of some tokens at a time become their gradient where they stand, and are gone
    before those of the next: all of them are never there. So the gradients are found on the way forward, for the way back to scale.
    """

    @staticmethod
    def forward(context: Any, hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        """See the class."""
        total, by_hidden, by_weight = hidden.new_zeros(()), torch.empty_like(hidden), torch.zeros_like(weight)
        size = max(FEWEST_TOKENS, NEAR * torch.get_num_threads() // len(weight))
        room = hidden.new_empty(min(size, len(hidden)), len(weight))
        for rows, label, by_rows in zip(*(each.split(size) for each in (hidden, labels, by_hidden)), strict=True):
            values, place = room[: len(rows)], label.clamp(min=0).unsqueeze(1)
            counted = label.ge(0).unsqueeze(1).to(values.dtype)
            torch.mm(rows, weight.t(), out=values)
            values.sub_(values.amax(1, keepdim=True))
            of_label = values.gather(1, place)
            sums = values.exp_().sum(1, keepdim=True)
            total += sums.log().sub_(of_label).mul_(counted).sum()
            values.mul_(counted / sums).scatter_add_(1, place, -counted)
            torch.mm(values, weight, out=by_rows)
            by_weight.addmm_(values.t(), rows)
        context.save_for_backward(by_hidden, by_weight)
        return total

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        """What the way forward has found, times the gradient of the sum."""
        by_hidden, by_weight = context.saved_tensors
        return by_hidden * gradient, by_weight * gradient, None


class Experts(Function):
    """sum_k weight_k * down_e(silu(gate_e(x)) * up_e(x)) with e the k-th expert of a token, for all tokens.

    hidden [tokens, width], gate_up [experts, 2 inner, width], down [experts, width, inner], chosen and weights [tokens, top].
    Tokens are sorted by expert. A token's experts are summed by `embedding_bag`, which gathers, weighs and adds in one pass.
    """

    @staticmethod
    def forward(context: Any, hidden: Tensor, gate_up: Tensor, down: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """See the class."""
        expert, order = torch.sort(chosen.flatten(), stable=True)
        ends = torch.bincount(expert, minlength=len(down)).cumsum(0, dtype=torch.int32)
        places = torch.empty_like(order)
        places[order] = torch.arange(len(order))
        places = places.view_as(chosen)
        x = hidden.index_select(0, order.div(chosen.shape[1], rounding_mode="floor"))
        mixed = F.grouped_mm(x, gate_up.transpose(1, 2), offs=ends)
        gate, up = mixed.chunk(2, 1)
        activated = F.silu(gate).mul_(up)
        y = F.grouped_mm(activated, down.transpose(1, 2), offs=ends)
        context.save_for_backward(x, gate_up, down, order, ends, places, weights, mixed, activated)
        return F.embedding_bag(places, y, mode="sum", per_sample_weights=weights)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, Tensor]:
        """The weight of an expert is met on its inner side, which is the narrower one."""
        x, gate_up, down, order, ends, places, weights, mixed, activated = context.saved_tensors
        gate, up = mixed.chunk(2, 1)
        weight = weights.flatten().index_select(0, order)[:, None]
        by_y = gradient.index_select(0, order.div(places.shape[1], rounding_mode="floor"))
        by_activated = F.grouped_mm(by_y, down, offs=ends)
        by_weight = (by_activated * activated).sum(1)
        by_activated.mul_(weight)
        by_down = F.grouped_mm(by_y.t(), activated * weight, offs=ends)
        by_mixed = torch.empty_like(mixed)
        by_gate, by_up = by_mixed.chunk(2, 1)
        torch.mul(by_activated, F.silu(gate), out=by_up)
        torch.ops.aten.silu_backward.grad_input(by_activated.mul_(up), gate, grad_input=by_gate)
        by_gate_up = F.grouped_mm(by_mixed.t(), x, offs=ends)
        by_hidden = F.embedding_bag(places, F.grouped_mm(by_mixed, gate_up, offs=ends), mode="sum")
        return by_hidden, by_gate_up, by_down, None, by_weight[places]
