"""Low-rank adapters (LoRA, arXiv 2106.09685) through peft, in modules and in expert weights of three dimensions. For plugins only.

Adapters are put into a model in place: it keeps its class, and what samples or trains it need not know of them. A policy is
saved with its adapters merged, so that it loads anywhere, and the next stage that trains it puts fresh ones into the merged
weights; or its adapters are saved alone, and the next stage goes on with them on the same weights.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from peft import LoraConfig, LoraModel, PeftConfig
from peft.tuners.tuners_utils import BaseTunerLayer, cast_adapter_dtype
from peft.utils import TrainableTokensWrapper, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from ponder.errors import InputError
from ponder.hf import check_finite
from ponder.hf_quantised import dequantised, is_quantised
from ponder.lora_options import LORA_OWNED

WEIGHTS_FILE: Final = "adapter_model.safetensors"
CONFIG_FILE: Final = "adapter_config.json"

_NAME: Final = "default"
_PREFIX: Final = "base_model.model."
"""What peft puts before the names of weights in a file."""

_logger = logging.getLogger("ponder")


class Adapters:
    """The adapters in a model, its other weights frozen: new ones, which leave its outputs as they were, or saved ones."""

    def __init__(
        self, model: PreTrainedModel, options: Mapping[str, Any], seed: int = 0, start: Path | None = None
    ) -> None:
        """Put them in; `options` are fields of peft's LoraConfig, `start` is a directory that `save` wrote.

        Raises InputError when they fit nothing.
        """
        _check_targets(model, options)
        is_tied = _is_tied(model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._tuner = _tuner(model, options)
        if is_tied:
            _check_ends(model)
        _mend_token_rows(model)
        # Over weights in BF16 they would be so, too, and small updates of theirs would be lost.
        cast_adapter_dtype(model, _NAME)
        self._model = model
        self._options = dict(options)
        self._start: dict[str, Tensor] | None = None
        if start is not None:
            self._load(start)
            self._start = {name: parameter.detach().clone() for name, parameter in self._trained()}

    def merged(self) -> PreTrainedModel:
        """A copy of the model in which the adapters are part of the weights; quantised weights are dequantised before."""
        if not is_quantised(self._model):
            model: PreTrainedModel = copy.deepcopy(self._tuner).merge_and_unload()
            return model
        whole = dequantised(self._model)
        copied = Adapters(whole, self._options)
        set_peft_model_state_dict(whole, self._state(), _NAME)
        merged: PreTrainedModel = copied._tuner.merge_and_unload()
        return merged

    def save(self, directory: Path, base: str) -> None:
        """Write them alone, in peft's format; `base` is the directory or name of the model that they belong to."""
        directory.mkdir(parents=True, exist_ok=True)
        write_adapters(self._model, self._tuner.peft_config[_NAME], directory, base)
        if self._tuner.peft_config[_NAME].use_dora:
            _logger.warning(
                "adapters of DoRA were saved alone: peft loads them as they are, but plain transformers drops their magnitudes; "
                "`ponder export` merges them for it"
            )

    @contextmanager
    def left_out(self) -> Iterator[None]:
        """The model computes as it did before it was given adapters, or with those that it was given from a directory."""
        if self._start is not None:
            self._exchange()
        else:
            self._tuner.disable_adapter_layers()
        try:
            yield
        finally:
            if self._start is not None:
                self._exchange()
            else:
                self._tuner.enable_adapter_layers()

    def _exchange(self) -> None:
        """The values that training began with take the place of the present ones, and the other way round."""
        assert self._start is not None
        for name, parameter in self._trained():
            parameter.data, self._start[name] = self._start[name], parameter.data

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, parameter) for name, parameter in self._model.named_parameters() if parameter.requires_grad)

    def _state(self) -> dict[str, Tensor]:
        return _adapter_weights(self._model)

    def _load(self, directory: Path) -> None:
        path = directory / WEIGHTS_FILE
        try:
            state = {name.removeprefix(_PREFIX): tensor for name, tensor in load_file(path).items()}
            missing = self._state().keys() ^ state.keys()
            if missing:
                raise InputError(
                    f"{path}: its adapters are in other places than the recipe's `lora` says, such as {min(missing)}"
                )
            for name, tensor in state.items():
                check_finite(tensor, f"{path}: its tensor {name}")
            set_peft_model_state_dict(self._model, state, _NAME)
        except (OSError, RuntimeError, KeyError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise InputError(f"{path}: its adapters do not fit the recipe's `lora`: {reason}") from error


def write_adapters(model: PreTrainedModel, config: PeftConfig, directory: Path, base: str) -> None:
    """Write the adapters in a model alone, in peft's format; `base` is the directory or name of the model below them."""
    state = {f"{_PREFIX}{name}": tensor.detach().cpu().contiguous() for name, tensor in _adapter_weights(model).items()}
    save_file(state, directory / WEIGHTS_FILE, metadata={"format": "pt"})
    said = {"base_model_name_or_path": base, "inference_mode": True, "task_type": "CAUSAL_LM"}
    content = json.dumps(_plain(config.to_dict() | said), indent=2, sort_keys=True) + "\n"
    (directory / CONFIG_FILE).write_text(content, encoding="utf-8")


def _adapter_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    state: dict[str, Tensor] = get_peft_model_state_dict(model, adapter_name=_NAME, save_embedding_layers=False)
    return state


def stored_adapters(directory: Path) -> dict[str, Any] | None:
    """What a directory says of the adapters in it, `base_model_name_or_path` among it; None when it holds none alone."""
    path = directory / CONFIG_FILE
    if not (path.exists() and (directory / WEIGHTS_FILE).exists()):
        return None
    stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return stored


def stored_options(directory: Path) -> dict[str, Any]:
    """The options of the adapters in a directory, as LoraConfig takes them."""
    stored = stored_adapters(directory) or {}
    known = {field.name for field in dataclasses.fields(LoraConfig) if field.init}
    return {
        name: value for name, value in stored.items() if name in known and name not in LORA_OWNED and value is not None
    }


def check_options(options: Mapping[str, Any]) -> None:
    """Raise InputError for options that peft refuses whatever the model, such as some that do not go together."""
    with _refusals():
        _config(options)


def _tuner(model: PreTrainedModel, options: Mapping[str, Any]) -> LoraModel:
    with _refusals():
        return LoraModel(model, {_NAME: _config(options)}, _NAME)


def _config(options: Mapping[str, Any]) -> LoraConfig:
    # peft looks for modules of its own choice when it is given none.
    return LoraConfig(**{"target_modules": [], **options})


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # Options that peft does not check fail anywhere in it, such as an index beyond the vocabulary or a damaged pattern.
        raise InputError(f"lora: peft refuses these options: {str(error) or type(error).__name__}") from error


def _plain(value: Any) -> Any:
    """JSON of peft's options: sets in an order that is the same in every process."""
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value.value if hasattr(value, "value") else value


def _check_targets(model: PreTrainedModel, options: Mapping[str, Any]) -> None:
    modules = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    parameters = [name for name, parameter in model.named_parameters() if parameter.ndim > 1]
    for option, known in (("target_modules", modules), ("target_parameters", parameters)):
        targets = options.get(option) or []
        # A string is a regular expression, or all-linear: peft itself says when it fits nothing.
        for target in [] if isinstance(targets, str) else targets:
            if not any(name == target or name.endswith(f".{target}") for name in known):
                there = sorted(set(map(_without_place, known)))
                raise InputError(
                    f"lora.{option}: nothing in the model is called {target!r}; there are {', '.join(there)}"
                )


def _is_tied(model: PreTrainedModel) -> bool:
    """Whether input and output are one weight; told before peft puts modules of its own around them."""
    head: Any = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight


def _check_ends(model: PreTrainedModel) -> None:
    """Raise InputError for adapters on the output, or on the embeddings, of a model in which both are one weight."""
    names = {id(module): name for name, module in model.named_modules()}
    for end in (model.get_input_embeddings(), model.get_output_embeddings()):
        if isinstance(end, BaseTunerLayer):
            name = names[id(end)]
            raise InputError(
                f"lora: adapters on {name} would be merged into the input embeddings and the output, which are one weight in this "
                f"model (tie_word_embeddings), and training sees one of both: take {name} out of the targets, or train a whole "
                f"copy of it with modules_to_save: [{name.rpartition('.')[2]}]"
            )


def _mend_token_rows(model: PreTrainedModel) -> None:
    """Give an output whose rows of some tokens are trained the `bias` that trainers read off it: none, as most have."""
    head = model.get_output_embeddings()
    if isinstance(head, TrainableTokensWrapper) and head.original_module.bias is None:
        head.bias = None


def _without_place(name: str) -> str:
    """A weight's name from behind the number of its layer."""
    parts = name.split(".")
    places = [place for place, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[places[-1] + 1 :] if places else parts)
