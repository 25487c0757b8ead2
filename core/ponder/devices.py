"""Kinds of GPU, and how many bytes a weight takes on them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from ponder.errors import InputError
from ponder.footprints import Kernels
from ponder.suggestions import did_you_mean

PrecisionName: TypeAlias = Literal["float32", "bfloat16", "fp8"]


@dataclass(frozen=True, slots=True)
class Precision:
    """Bytes for each parameter, and for each value of the cache."""

    name: PrecisionName
    weights: int
    gradients: int
    optimizer: int
    """AdamW's two moments, and the weights that it moves where those that are computed with are coarser."""
    activations: int
    cache: int
    text: str
    moments: int = 8
    """The moments alone."""


PRECISIONS: Final[dict[PrecisionName, Precision]] = {
    precision.name: precision
    for precision in (
        Precision("float32", 4, 4, 8, 4, 4, "all in float32"),
        Precision("bfloat16", 2, 2, 12, 2, 2, "computed in bfloat16, with weights and moments in float32"),
        # DeepSeek-V3, section 3.3. What it keeps of activations in 8 bits is not taken off.
        Precision("fp8", 1, 4, 8, 2, 2, "DeepSeek-V3's: moments in bfloat16, weights and gradients in float32", 4),
    )
}


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU, or one core."""

    name: str
    memory: int | None
    """Bytes; None is the machine's, which all cores share."""
    peak: float
    """Floating-point operations a second: dense bfloat16 products of a GPU, float32 ones of a core."""
    utilisation: float
    """The share of the peak that training reaches."""
    sampling: float
    """The share of the peak that sampling reaches."""
    price: float | None = None
    """Dollars an hour, where a paper says so."""

    @property
    def kernels(self) -> Kernels:
        """Whose attention."""
        return "gpu" if self.memory else "cpu"


_TRAINING: Final = 0.3906
"""DeepSeek-V3's pre-training: 250.45 GFLOP a token at 180,000 H800 hours for 10^12 tokens."""
_SAMPLING: Final = 0.137
"""DeepSeek's own service of V3: 14,800 tokens a second on 8 H800, at 2 operations for each of 36.6 billion parameters."""
_GB: Final = 10**9


def _gpu(name: str, gigabytes: int, teraflops: float, price: float | None = None) -> Device:
    return Device(name, gigabytes * _GB, teraflops * 1e12, _TRAINING, _SAMPLING, price)


DEVICES: Final[dict[str, Device]] = {
    device.name: device
    for device in (
        # About what a core with 512-bit vectors does.
        Device("cpu-core", None, 90e9, 0.25, 0.05),
        _gpu("h800-80gb", 80, 989.5, 2.0),
        _gpu("h100-80gb", 80, 989.5),
        _gpu("h200-141gb", 141, 989.5),
        _gpu("b200-192gb", 192, 2250),
        _gpu("mi300x-192gb", 192, 1307),
        _gpu("a100-80gb", 80, 312),
        _gpu("a100-40gb", 40, 312),
        _gpu("l40s-48gb", 48, 362),
        _gpu("rtx4090-24gb", 24, 165),
    )
}
"""Dense bfloat16 peaks from the makers' data sheets; the price is DeepSeek-V3's (table 1)."""

CPU: Final = "cpu-core"


def find_device(name: str) -> Device:
    """The device of a name; InputError when there is none."""
    if name not in DEVICES:
        raise InputError(f"--gpu {name}: not known; {did_you_mean(name, DEVICES)}")
    return DEVICES[name]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
