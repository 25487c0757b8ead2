"""The tensors of a checkpoint directory: headers checked at once, values read one at a time and dequantised. Nothing is unpickled."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ponder.errors import InputError
from ponder.hf import check_finite

SINGLE: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
SCALE: Final = "_scale_inv"
"""Ends the name of the scales of an FP8 tensor: one for each block (DeepSeek-V3, README_WEIGHTS)."""
LARGEST_JSON: Final = 64 << 20
"""Bytes of a JSON file that is read at all; the index of the released V3 has 9 million."""


class StoredTensors:
    """The tensors in the safetensors files of a directory; raises InputError that names file and tensor."""

    def __init__(self, directory: Path, block: Sequence[int] = (128, 128)) -> None:
        self._block = tuple(block)
        self._files: dict[str, Any] = {}
        self._places: dict[str, Path] = {}
        for path, promised in _shards(directory).items():
            self._open(path, promised)

    @property
    def names(self) -> set[str]:
        """Names of all tensors but the scales of FP8 ones."""
        return {name for name in self._places if not self._is_scale(name)}

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor, from the header."""
        return tuple(self._files[name].get_slice(name).get_shape())

    def dtype(self, name: str) -> torch.dtype:
        """Of a tensor as it is stored."""
        return self._value(name).dtype

    def where(self, name: str) -> str:
        """The tensor and its file, for a message."""
        return f"{name} in {self._places[name]}"

    def read(self, name: str, dtype: torch.dtype) -> Tensor:
        """A tensor in `dtype`; one in FP8 is multiplied by the scales of its blocks first. All values are finite."""
        value = self._value(name)
        if value.dtype.itemsize == 1 and value.dtype.is_floating_point:
            value = self._dequantised(name, value)
        check_finite(value, f"the checkpoint's tensor {self.where(name)}")
        return value.to(dtype)

    def _dequantised(self, name: str, value: Tensor) -> Tensor:
        if name + SCALE not in self._places:
            raise InputError(f"the checkpoint's FP8 tensor {self.where(name)} has no scales: {name + SCALE} is missing")
        scales = self._value(name + SCALE).float()
        blocks = tuple(-(-size // block) for size, block in zip(value.shape, self._block, strict=True))
        if tuple(scales.shape) != blocks:
            raise InputError(
                f"the scales {self.where(name + SCALE)} have shape {list(scales.shape)}; {list(blocks)} is needed for {name}"
            )
        for place, block in enumerate(self._block):
            scales = scales.repeat_interleave(block, place)
        return value.float() * scales[: value.shape[0], : value.shape[1]]

    def _open(self, path: Path, promised: Iterable[str] | None) -> None:
        try:
            file = safe_open(path, framework="pt")
            names = list(file.keys())
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"cannot read the checkpoint's file {path}, which is truncated or damaged: {error}"
            ) from None
        for name in names:
            if name in self._places:
                raise InputError(f"the checkpoint's tensor {name} is in two files, {self._places[name]} and {path}")
            self._places[name] = path
            self._files[name] = file
        if absent := sorted(set(promised or ()) - set(names)):
            raise InputError(f"the checkpoint's index says that {absent[0]} is in {path}, where it is not")

    def _is_scale(self, name: str) -> bool:
        return name.endswith(SCALE) and name.removesuffix(SCALE) in self._places

    def _value(self, name: str) -> Tensor:
        try:
            value: Tensor = self._files[name].get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise InputError(f"cannot read the checkpoint's tensor {self.where(name)}: {error}") from None
        return value


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a checkpoint; raises InputError."""
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise InputError(f"{path} has more than {LARGEST_JSON >> 20} MB: it is no part of a checkpoint")
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path} of the checkpoint: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} of the checkpoint must hold a JSON object")
    return value


def _shards(directory: Path) -> Mapping[Path, Iterable[str] | None]:
    """The files, each with the tensors that the index promises to be in it."""
    index = directory / INDEX
    if not index.exists():
        if not (directory / SINGLE).exists():
            raise InputError(f"{directory} holds no checkpoint: neither {SINGLE} nor {INDEX} is there")
        return {directory / SINGLE: None}
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise InputError(f"{index} has no weight_map")
    shards: dict[Path, list[str]] = {}
    for name, file in places.items():
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
            raise InputError(f"{index} places {name} in {file!r}, which is no safetensors file of the directory")
        shards.setdefault(directory / file, []).append(name)
    return shards
