"""Training in mixed precision: parameters, their gradients and the optimizer in FP32, the work in BF16 or FP8. For plugins only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from ponder.hf_fp8 import BLOCK, GRADIENT_FLOOR, Quantized, e5m6_tiles, product, quantize_blocks, quantize_tiles

Precision: TypeAlias = Literal["fp32", "bf16", "fp8"]

GATES: Final = ("gate", "router")
"""Names of linear layers that choose experts: they stay in BF16, as do embedding, head, norms and attention (section 3.3.1)."""
AFTER_ATTENTION: Final = ("o_proj",)
"""Names of the linear layer after attention, whose inputs V3 keeps for the backward pass in E5M6."""


@contextmanager
def working_precision(model: PreTrainedModel, precision: Precision) -> Iterator[None]:
    """Forward and backward passes in here work in this precision; the parameters, in FP32, get gradients in FP32.

    Each parameter is replaced by a copy in BF16, made anew every time, through which its gradient flows back. The weights of
    linear layers and experts are replaced by views whose matrix products, whatever code asks for them, round their operands:
    to FP8, or on a CPU to BF16, where products of rounded numbers in FP32 are the same and faster than its own BF16. What a
    model computes between products is in BF16. Optimizer, checkpoints and `state_dict`, outside, see the parameters alone.
    """
    if precision == "fp32":
        yield
        return
    replaced = [
        (module, name, parameter, kind) for module, name, parameter, kind in _kinds_of_parameters(model, precision)
    ]
    try:
        for module, name, parameter, kind in replaced:
            copy = parameter.to(torch.bfloat16) if kind is None else parameter.view_as(parameter).as_subclass(kind)
            module._parameters[name] = copy  # type: ignore[assignment]
        yield
    finally:
        for module, name, parameter, _ in replaced:
            module._parameters[name] = parameter


def _kinds_of_parameters(
    model: PreTrainedModel, precision: Precision
) -> Iterator[tuple[nn.Module, str, nn.Parameter, type[RoundedWeight] | None]]:
    """Each parameter with its module, its name there, and what stands in for it; None stands for a copy in BF16."""
    head = model.get_output_embeddings()
    for path, module in model.named_modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                multiplied = parameter.ndim == 3 or (isinstance(module, nn.Linear) and name == "weight")
                last = path.rpartition(".")[2]
                kind: type[RoundedWeight] | None = None
                if multiplied and precision == "fp8" and module is not head and last not in GATES:
                    kind = AttentionOutputWeight if last in AFTER_ATTENTION else Fp8Weight
                elif multiplied and parameter.device.type == "cpu":
                    kind = Bf16Weight
                yield module, name, parameter, kind


class RoundedWeight(Tensor):
    """A weight in FP32 that its matrix products round and that anything else sees as a tensor in BF16."""

    @staticmethod
    def linear(inputs: Tensor, weight: Tensor) -> Tensor:
        """Inputs [rows, in] and a plain weight [out, in] to outputs [rows, out]."""
        # Each kind of weight defines its own; a tensor's metaclass is not ABC's, so nothing refuses a kind without one.
        raise NotImplementedError

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Route products to `linear`, keep views what they are, and give other functions BF16."""
        with torch._C.DisableTorchFunctionSubclass():
            if function == Tensor.dtype.__get__:  # type: ignore[attr-defined]
                return torch.bfloat16
            if function in _PRODUCTS and isinstance(args[1], cls):
                return _PRODUCTS[function](cls.linear, args[0], _plain(args[1]), *args[2:], **(kwargs or {}))
            if function in _VIEWS:
                return _marked(function(*args, **(kwargs or {})), cls)
            if getattr(function, "__name__", "") != "__get__":
                args = [_plain(each).to(torch.bfloat16) if isinstance(each, cls) else each for each in args]
            return function(*args, **(kwargs or {}))


def _plain(weight: Tensor) -> Tensor:
    return weight.as_subclass(Tensor)


def _marked(views: Any, cls: type[RoundedWeight]) -> Any:
    return views.as_subclass(cls) if isinstance(views, Tensor) else tuple(view.as_subclass(cls) for view in views)


Linear: TypeAlias = Callable[[Tensor, Tensor], Tensor]


def _linear(linear: Linear, inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    outputs = linear(inputs.flatten(0, -2), weight).unflatten(0, inputs.shape[:-1])
    return outputs if bias is None else outputs + bias


def _matmul(linear: Linear, inputs: Tensor, weight: Tensor) -> Tensor:
    if weight.ndim == 2:
        return _linear(linear, inputs, weight.mT)
    return torch.stack([linear(rows, each.mT) for rows, each in zip(inputs, weight, strict=True)])


def _grouped(linear: Linear, inputs: Tensor, weight: Tensor, *, offs: Tensor, **_: Any) -> Tensor:
    """Rows [tokens, in], those of each group up to its place in `offs`, times its own weight of [groups, in, out]."""
    ends = offs.tolist()
    sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    groups = inputs[: ends[-1]].split(sizes)
    return torch.cat([linear(rows, each.mT) for rows, each in zip(groups, weight.unbind(0), strict=True)])


_PRODUCTS: Final[dict[Any, Callable[..., Tensor]]] = {
    F.linear: _linear,
    torch.matmul: _matmul,
    torch.mm: _matmul,
    torch.bmm: _matmul,
    Tensor.matmul: _matmul,
    Tensor.mm: _matmul,
    Tensor.bmm: _matmul,
    Tensor.__matmul__: _matmul,
    torch._grouped_mm: _grouped,
}
_VIEWS: Final = frozenset(
    {
        Tensor.__getitem__,
        Tensor.T.__get__,  # type: ignore[attr-defined]
        Tensor.mT.__get__,  # type: ignore[attr-defined]
        Tensor.t,
        Tensor.transpose,
        Tensor.contiguous,
        Tensor.view,
        Tensor.unbind,
        Tensor.chunk,
        Tensor.split,
        torch.transpose,
        torch.unbind,
        torch.chunk,
        torch.split,
    }
)


class _Bf16Linear(torch.autograd.Function):
    """Products of operands in BF16, summed in FP32; outputs and their gradients are in BF16, the weight's gradient is not."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor) -> Tensor:
        rounded = inputs.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(*rounded)
        return (rounded[0].float() @ rounded[1].float().mT).bfloat16()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        gradient = gradients[0].float()
        inputs, weight = ctx.saved_tensors
        return (gradient @ weight.float()).bfloat16(), gradient.mT @ inputs.float()


class _Fp8Linear(torch.autograd.Function):
    """The three products of a linear layer in FP8: forward, and for the gradients of its inputs and of its weight."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, is_after_attention: bool) -> Tensor:
        activations, blocks = quantize_tiles(inputs), quantize_blocks(weight)
        kept = e5m6_tiles(inputs) if is_after_attention else activations
        ctx.save_for_backward(kept.values, kept.scales, blocks.values, blocks.scales)
        ctx.is_after_attention = is_after_attention
        return product(activations, blocks).bfloat16()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (gradient,) = gradients
        values, scales, weight_values, weight_scales = ctx.saved_tensors
        blocks = Quantized(weight_values, weight_scales, BLOCK)
        of_inputs = product(quantize_tiles(gradient, GRADIENT_FLOOR), blocks.transposed())
        # The weight's gradient sums over tokens, along which tiles are other ones: what was kept is quantised again, 128 x 1.
        kept = Quantized(values, scales, 1).dequantize()
        along_tokens = quantize_tiles(kept.mT, power_of_two=ctx.is_after_attention)
        of_weight = product(quantize_tiles(gradient.mT, GRADIENT_FLOOR), along_tokens)
        return of_inputs.bfloat16(), of_weight, None


class Bf16Weight(RoundedWeight):
    """Multiplied in BF16."""

    @staticmethod
    def linear(inputs: Tensor, weight: Tensor) -> Tensor:
        """See `RoundedWeight`."""
        return _Bf16Linear.apply(inputs, weight)


class Fp8Weight(RoundedWeight):
    """Multiplied in DeepSeek-V3's FP8."""

    @staticmethod
    def linear(inputs: Tensor, weight: Tensor) -> Tensor:
        """See `RoundedWeight`."""
        return _Fp8Linear.apply(inputs, weight, False)


class AttentionOutputWeight(RoundedWeight):
    """Multiplied in FP8 with attention's output, which is kept for the backward pass in E5M6 (section 3.3.3)."""

    @staticmethod
    def linear(inputs: Tensor, weight: Tensor) -> Tensor:
        """See `RoundedWeight`."""
        return _Fp8Linear.apply(inputs, weight, True)
