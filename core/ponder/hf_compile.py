"""Layers compiled by torch.compile, which joins what they compute between matrix products. For plugins only."""

from __future__ import annotations

import functools
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch._dynamo
import torch._inductor.config
from torch import nn
from transformers import PreTrainedModel

from ponder.errors import InputError
from ponder.hf_plan import layers_of
from ponder.kept_replies import cache_directory

Forward = Callable[..., Any]


def compile_layers(model: PreTrainedModel) -> None:
    """Compile each decoder layer, in place, when it first runs with gradients; without gradients it runs as it is.

    Parameters, their names and what is saved stay as they are. Of a block with experts the router is not compiled, which hooks watch,
    and routed experts only where they have a method `is_traceable` that says so: what others do depends on the tokens. What is
    compiled has fixed shapes, and is kept in the user's cache directory.

    Raises:
        InputError: the model is on a CPU, and this machine has no C++ compiler, or not Python's headers.
    """
    on_cpu = model.device.type == "cpu"
    if on_cpu:
        _check_compiler()
    # Steps this short are felt to be started from Python; a GPU does not wait for them.
    compiled = functools.partial(_compiled, options={"cpp_wrapper": on_cpu})
    # Torch's own default is a directory under /tmp whose name anyone can foresee, and what is in it is run.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_directory("", "compiled")))
    # In this process: a pool of compilers would outlive it when it is killed.
    torch._inductor.config.compile_threads = 1
    layers = layers_of(model)[1]
    # At the limit torch goes on uncompiled, without an error.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 4 * len(layers))
    for layer in layers:
        for block in filter(_has_experts, layer.modules()):
            block.forward = torch.compiler.disable(block.forward)
            for part in filter(_is_traceable, block.children()):
                part.forward = compiled(part.forward)
        layer.forward = compiled(layer.forward)


def _compiled(forward: Forward, options: dict[str, Any]) -> Forward:
    compiled = torch.compile(forward, dynamic=False, options=options)

    @functools.wraps(forward)
    def with_gradients(*values: Any, **named: Any) -> Any:
        return (compiled if torch.is_grad_enabled() else forward)(*values, **named)

    return with_gradients


def _has_experts(block: nn.Module) -> bool:
    return any(map(_are_experts, block.children()))


def _are_experts(part: nn.Module) -> bool:
    """Whether it holds the weights of several experts in one tensor."""
    return any(parameter.ndim == 3 for parameter in part.parameters(recurse=False))


def _is_traceable(part: nn.Module) -> bool:
    """Of a block with experts: routed ones that say so, and networks that all tokens go through. A router has no parts of its own."""
    if _are_experts(part):
        return bool(getattr(part, "is_traceable", bool)())
    return next(part.children(), None) is not None and all(parameter.ndim < 3 for parameter in part.parameters())


def _check_compiler() -> None:
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        raise InputError(f"compile needs a C++ compiler, and there is no {compiler}: install it, or leave compile out")
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").exists():
        raise InputError(
            f"compile needs Python's headers, and there is no {headers / 'Python.h'}: install them "
            "(python3-dev in Debian and Ubuntu), or leave compile out"
        )
