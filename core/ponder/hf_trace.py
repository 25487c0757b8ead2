"""What a training step of a model holds in memory, found by running it on tensors without contents. For plugins only."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedModel

from ponder.footprints import Kernels, StepMemory
from ponder.hf_pretraining import label_loss

Loss: TypeAlias = Callable[[PreTrainedModel, Tensor], Tensor]
"""From a model and token ids [rows, length], with as many labels, to the scalar that a training step goes back from."""


def loss_of_logits(model: PreTrainedModel, tokens: Tensor) -> Tensor:
    """The loss of a model whose logits are there all at once."""
    return label_loss(model(input_ids=tokens, use_cache=False).logits, tokens)


def step_memory(model: PreTrainedModel, rows: int, length: int, kernels: Kernels, loss: Loss) -> StepMemory:
    """Trace next-token prediction on `rows` sequences of `length` tokens, forward and backward; `model` is on the meta device."""
    meter = _Meter()
    tokens = torch.zeros(rows, length, dtype=torch.long, device="meta")
    with meter.apart_from(model), _Kernels(kernels), _no_autocast_without_device():
        loss(model, tokens).backward()
    return StepMemory(meter.activations, meter.peak)


class _Meter(TorchDispatchMode):
    """Adds up the storages that operations make, for as long as each lives."""

    def __init__(self) -> None:
        super().__init__()
        self.activations = 0
        self.peak = 0
        self._live = 0
        self._gradients = 0
        self._known: set[int] = set()

    @contextmanager
    def apart_from(self, model: nn.Module) -> Iterator[None]:
        """Measure, with the gradients of the model's weights set aside, and its weights not counted."""
        for tensor in (*model.parameters(), *model.buffers()):
            self._known.add(tensor.untyped_storage()._cdata)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        hooks = [parameter.register_post_accumulate_grad_hook(self._set_aside) for parameter in trained]
        try:
            with self:
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = _INSTEAD.get(func, func)(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata in self._known:
            return
        self._known.add(storage._cdata)
        self._live += storage.nbytes()
        weakref.finalize(storage, self._forget, storage._cdata, storage.nbytes())
        self.activations = max(self.activations, self._live)
        self.peak = max(self.peak, self._live + self._gradients)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._live -= size

    def _set_aside(self, parameter: Tensor) -> None:
        assert parameter.grad is not None
        self._gradients += parameter.grad.untyped_storage().nbytes()
        parameter.grad = None


@contextmanager
def _no_autocast_without_device() -> Iterator[None]:
    """Lets code switch autocasting off on the meta device, as peft does by the device of a weight; torch refuses to."""
    real = torch.autocast

    def autocast(device_type: str, **options: Any) -> AbstractContextManager[Any]:
        return nullcontext() if device_type == "meta" else real(device_type, **options)

    torch.autocast = autocast  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        torch.autocast = real  # type: ignore[misc]


def _grouped_product(left: Tensor, right: Tensor, groups: Tensor, *_: Any) -> Tensor:
    """The shape of a product in groups: torch's own rule takes bfloat16 alone, as a GPU does."""
    if right.ndim == 3:
        return left.new_empty(left.shape[0], right.shape[2])
    return left.new_empty(len(groups), left.shape[0], right.shape[1])


def _counts(numbers: Tensor, _weights: Tensor | None = None, length: int = 0) -> Tensor:
    """How often each number occurs, below `length`: torch has no rule for it, for what the numbers are decides of the shape."""
    return numbers.new_empty(length)


def _yes(_: Tensor) -> bool:
    """What a tensor without contents says when it is asked: transformers asks whether each row is one sequence."""
    return True


_INSTEAD: Mapping[Any, Callable[..., Any]] = {
    torch.ops.aten._grouped_mm.default: _grouped_product,
    torch.ops.aten.bincount.default: _counts,
    torch.ops.aten._local_scalar_dense.default: _yes,
}


class _Kernels(TorchFunctionMode):
    """Attention as it is computed on a GPU, and on a CPU where keys and values are equally wide: no table of scores is kept."""

    def __init__(self, kernels: Kernels) -> None:
        super().__init__()
        self._kernels = kernels

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            query, key, value = args[:3]
            if self._kernels == "gpu" or key.shape[-1] == value.shape[-1]:
                return _Attended.apply(query, key, value)
        return func(*args, **(kwargs or {}))


class _Attended(torch.autograd.Function):
    """Keeps queries, keys, values, the output, and a sum of weights for each query."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Queries [rows, heads, tokens, width] to values [rows, heads, tokens, width of values]."""
        rows, heads, tokens = query.shape[:3]
        # Laid out token by token, as the kernels do, so that joining the heads copies nothing.
        output = query.new_empty(rows, tokens, heads, value.shape[-1]).transpose(1, 2)
        sums = query.new_empty(rows, heads, tokens, dtype=torch.float32)
        ctx.save_for_backward(query, key, value, output, sums)
        return output

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of queries, keys and values."""
        query, key, value, _output, _sums = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
