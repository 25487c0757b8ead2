"""DeepSeek-V3's FP8: E4M3 values with a scale for each tile of 1 x 128 or block of 128 x 128, and matrix products of them.

After DeepSeek-V3, section 3.3. Weights in the released block format are read and written with the same functions. For plugins only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

E4M3_MAX: Final = 448.0
E5M6_MAX: Final = 65024.0
BLOCK: Final = 128
"""Width of a tile and of a block; also the run of products that V3's kernels sum before they promote to FP32."""
ACTIVATION_FLOOR: Final = 1e-4
"""The least largest-magnitude of a tile of activations, as in the released kernels, so that a tile of zeros has a scale."""
GRADIENT_FLOOR: Final = 1e-30
"""The same for gradients and weights, which may be far smaller and must not vanish: it only keeps a scale from being zero."""
KERNEL_CAPABILITY: Final = (9, 0)
"""CUDA devices from here on multiply FP8 with scales for tiles and blocks."""


@dataclass(frozen=True, slots=True)
class Quantized:
    """Values [..., rows, columns] of few bits and their scales; a number is value x scale."""

    values: Tensor
    """E4M3 as float8_e4m3fn; E5M6, which PyTorch lacks, in bfloat16."""
    scales: Tensor
    """float32, [..., ceil(rows / height), ceil(columns / 128)]."""
    height: int
    """Rows that share a scale: 1 for tiles, 128 for blocks."""

    def dequantize(self) -> Tensor:
        """The numbers in float32, [..., rows, columns]."""
        return _decoded(self.values) * _spread(self.scales, self.values, self.height)

    def transposed(self) -> Quantized:
        """The transpose of blocks, whose scales transpose with them; tiles have to be quantised anew."""
        if self.height != BLOCK:
            raise ValueError("only blocks of 128 x 128 can be transposed without quantising again")
        return Quantized(self.values.mT, self.scales.mT, self.height)


def scale_for(
    largest: Tensor, floor: float = ACTIVATION_FLOOR, *, power_of_two: bool = False, top: float = E4M3_MAX
) -> Tensor:
    """The scale that maps magnitudes up to `largest` onto a format that ends at `top`: largest / top.

    `power_of_two` rounds it up to the next power of two (UE8M0), by which numbers scale without rounding.
    """
    scale = largest.float().clamp(min=floor) / top
    if not power_of_two:
        return scale
    mantissa, exponent = torch.frexp(scale)
    return torch.ldexp(torch.ones_like(scale), exponent - (mantissa == 0.5).int())


def quantize_tiles(numbers: Tensor, floor: float = ACTIVATION_FLOOR, *, power_of_two: bool = False) -> Quantized:
    """Quantise [..., rows, columns] with a scale for each row and 128 columns, from their current maximum."""
    numbers = numbers.float().contiguous()
    scales = scale_for(_largest_of_tiles(numbers), floor, power_of_two=power_of_two)
    return Quantized(_values(numbers, _spread(scales, numbers, 1)), scales, 1)


def quantize_blocks(numbers: Tensor, *, power_of_two: bool = False) -> Quantized:
    """Quantise weights [..., rows, columns] with a scale for each block of 128 x 128.

    `values` and `scales` are what released checkpoints call `weight` and `weight_scale_inv`.
    """
    rows, columns = numbers.shape[-2:]
    padded = F.pad(numbers.float(), (0, -columns % BLOCK, 0, -rows % BLOCK))
    blocks = padded.unflatten(-1, (-1, BLOCK)).unflatten(-3, (-1, BLOCK))
    scales = scale_for(blocks.abs().amax((-3, -1)), GRADIENT_FLOOR, power_of_two=power_of_two)
    return Quantized(_values(numbers, _spread(scales, numbers, BLOCK)), scales, BLOCK)


def dequantize_blocks(values: Tensor, scales: Tensor, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """The weights of a released checkpoint: `weight` [..., rows, columns] times `weight_scale_inv`, block by block.

    Raises:
        ValueError: there is not one scale for each block of 128 x 128.
    """
    rows, columns = values.shape[-2:]
    expected = (*values.shape[:-2], -(-rows // BLOCK), -(-columns // BLOCK))
    if tuple(scales.shape) != expected:
        raise ValueError(
            f"weights of shape {tuple(values.shape)} need scales of shape {expected}, not {tuple(scales.shape)}"
        )
    return Quantized(values, scales.float(), BLOCK).dequantize().to(dtype)


def product(left: Quantized, right: Quantized) -> Tensor:
    """left [m, k] @ right [n, k] transposed, in float32.

    Sums are in FP32 throughout, which is what V3 promotes to every 128 products: a CPU has no 14-bit accumulator to be saved
    from. CUDA devices from compute capability 9.0 on multiply with PyTorch's own kernels where they take the sizes.
    """
    if _fits_kernels(left, right):
        return _kernel_product(left, right)
    return left.dequantize() @ right.dequantize().mT


def has_kernels(device: torch.device) -> bool:
    """Whether the device multiplies FP8 by itself; elsewhere products are emulated, with the same numbers and no speed."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= KERNEL_CAPABILITY


def _fits_kernels(left: Quantized, right: Quantized) -> bool:
    sizes = (*left.values.shape, *right.values.shape)
    return has_kernels(left.values.device) and all(size % BLOCK == 0 for size in sizes)


def _kernel_product(left: Quantized, right: Quantized) -> Tensor:
    recipes = {1: F.ScalingType.BlockWise1x128, BLOCK: F.ScalingType.BlockWise128x128}
    # The kernels want the scales of tiles with the rows next to each other.
    scales = [
        side.scales.mT.contiguous().mT if side.height == 1 else side.scales.contiguous() for side in (left, right)
    ]
    multiplied: Tensor = F.scaled_mm(
        left.values.contiguous(),
        right.values.contiguous().mT,
        scales[0],
        recipes[left.height],
        scales[1],
        recipes[right.height],
        output_dtype=torch.float32,
    )
    return multiplied


def round_to_e5m6(numbers: Tensor) -> Tensor:
    """The nearest numbers that E5M6 holds, ties to even: half precision with six bits of mantissa (at most 65,024), in bfloat16."""
    bits = numbers.to(torch.float16).view(torch.int16).int()
    rounded = (bits + 7 + ((bits >> 4) & 1)) & ~15
    # Seven bits of mantissa hold six, and the exponents of bfloat16 all of half precision's.
    return rounded.to(torch.int16).view(torch.float16).bfloat16()


def e5m6_tiles(numbers: Tensor) -> Quantized:
    """Quantise [..., rows, columns] to E5M6 in tiles of 1 x 128 whose scales are powers of two.

    Section 3.3.3: so V3 keeps the inputs of the linear layer after attention. Its largest number is not published; 65,024 is
    that of a format which keeps its last exponent for infinities.
    """
    scales = scale_for(_largest_of_tiles(numbers), power_of_two=True, top=E5M6_MAX)
    return Quantized(round_to_e5m6(numbers.float() / _spread(scales, numbers, 1)), scales, 1)


def _decoded(values: Tensor) -> Tensor:
    if values.device.type != "cpu" or values.dtype != torch.float8_e4m3fn:
        return values.float()
    # On a CPU, looking the 256 values up is four times as fast as converting them.
    table = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
    return table.index_select(0, values.contiguous().view(torch.uint8).flatten().int()).view(values.shape)


def _largest_of_tiles(numbers: Tensor) -> Tensor:
    return F.pad(numbers.float(), (0, -numbers.shape[-1] % BLOCK)).unflatten(-1, (-1, BLOCK)).abs().amax(-1)


def _spread(scales: Tensor, numbers: Tensor, height: int) -> Tensor:
    """Each number's scale."""
    rows, columns = numbers.shape[-2:]
    across = scales.repeat_interleave(BLOCK, -1)[..., :columns]
    return across if height == 1 else across.repeat_interleave(height, -2)[..., :rows, :]


def _values(numbers: Tensor, scales: Tensor) -> Tensor:
    return (numbers.float() / scales).clamp(-E4M3_MAX, E4M3_MAX).to(torch.float8_e4m3fn)
