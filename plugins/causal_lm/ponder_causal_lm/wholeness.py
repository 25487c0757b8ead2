"""Models on the disk that are not whole: which file is damaged, and which tensors a checkpoint lacks."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile, ZipFile

from jinja2 import TemplateSyntaxError
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedTokenizerBase

from ponder.chat_templates import QUESTION
from ponder.errors import InputError

AGAIN: Final = "copy or download it again"
PICKLED: Final = "pytorch_model*.bin"
"""Weights as torch.save wrote them, which transformers reads as tensors alone: nothing in them is run."""
_UNPACKED: Final = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How such files from before PyTorch 1.6 begin; since then they are archives, with a checksum for each tensor."""
_VOCABULARIES: Final = ("tokenizer.json", "*.model", "merges.txt", "vocab.txt")
_NO_TOKENIZER: Final = (
    "has no tokenizer: tokenizer.json is expected there (or tokenizer.model, or vocab.json with merges.txt) beside "
    "tokenizer_config.json; copy them from the model that it was trained from"
)
_SHOWN: Final = 4
"""Names of tensors in a message; one layer alone has a dozen."""


def damage_at(place: Path) -> str | None:
    """What is wrong with a GGUF file, or with the first damaged file of a directory; None where nothing is found."""
    if place.is_file():
        return _gguf_damage(place)
    files = sorted(place.glob("*")) if place.is_dir() else []
    return next(filter(None, map(file_damage, files)), None)


def file_damage(path: Path) -> str | None:
    """What is wrong with a file of JSON or weights; None for whole ones, and for files of other kinds."""
    try:
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".safetensors":
            with safe_open(path, framework="pt"):
                return None
        elif path.match(PICKLED):
            _check_archive(path)
    except (SafetensorError, BadZipFile, ValueError, OSError) as error:
        return f"{path} is truncated or damaged ({first_line(error)}): {AGAIN}"
    return None


def pickle_fault(error: Exception, place: Path) -> str | None:
    """What an error means that reading pickled weights ended with, where no file is known to be damaged; None for others."""
    # By its name, since pickle is imported nowhere here; torch's own text advises to let the file run what it likes.
    if type(error).__name__ not in ("UnpicklingError", "EOFError") and "unexpected EOF" not in str(error):
        return None
    names = ", ".join(path.name for path in sorted(place.glob(PICKLED))) or PICKLED
    return (
        f"its weights ({names}) are damaged, or hold more than tensors, which could run code and is not read: {AGAIN}, or have "
        "them converted to safetensors"
    )


def check_adapters(config: Path, weights: Path) -> None:
    """Raise InputError where a file of adapters that were saved alone is damaged."""
    damage = file_damage(config) or file_damage(weights)
    if damage is None and not isinstance(json.loads(config.read_text(encoding="utf-8")), dict):
        damage = f"{config} is no mapping of options: {AGAIN}"
    if damage is not None:
        raise InputError(damage)


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, source: str) -> None:
    """Raise InputError for a tokenizer that knows special tokens alone: what transformers makes for a model that has none."""
    if not tokenizer.get_vocab().keys() - tokenizer.get_added_vocab().keys() - set(tokenizer.all_special_tokens):
        raise InputError(f"{source} {_NO_TOKENIZER}")


def lack_of_tokenizer(directory: Path) -> str | None:
    """Said of a directory where nothing is that a tokenizer can be made of; None of others, and of what is no directory."""
    if not directory.is_dir() or any(path.match(pattern) for path in directory.iterdir() for pattern in _VOCABULARIES):
        return None
    is_model = any((directory / name).exists() for name in ("config.json", "adapter_config.json"))
    return f"it {_NO_TOKENIZER}" if is_model else "it holds no model: config.json is expected there"


def check_template(tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    """Raise InputError where the chat template that a directory brings is no Jinja."""
    if not isinstance(tokenizer.chat_template, str):
        return
    try:
        tokenizer.apply_chat_template(list(QUESTION), tokenize=False)
    except TemplateSyntaxError as error:
        file = directory / "chat_template.jinja"
        where = str(file) if file.exists() else f"the chat template in {directory / 'tokenizer_config.json'}"
        raise InputError(
            f"{where}, line {error.lineno}: this is not a Jinja template: {str(error.message).rstrip('.')}; mend it there, or "
            "take it out and set chat_template or chat_template_file"
        ) from None
    except Exception:
        # A whole template may refuse this conversation, such as one that wants a system message.
        return


def check_tensors(found: Mapping[str, Any], source: str) -> None:
    """Raise InputError where tensors were missing or of another size when a model was loaded: they would be random.

    `found` is transformers' `loading_info`, from which it has taken tied heads.
    """
    missing, mismatched = sorted(found["missing_keys"]), sorted(found["mismatched_keys"])
    remedy = "get the whole model again, or give it the configuration that it was saved with"
    if missing:
        raise InputError(f"{source} lacks tensors of its model, which would be random: {_some(missing)}; {remedy}")
    if mismatched:
        sizes = [f"{name} is {tuple(stored)} instead of {tuple(wanted)}" for name, stored, wanted in mismatched]
        raise InputError(f"{source} has tensors of other sizes than its configuration says: {_some(sizes)}; {remedy}")


def first_line(error: Exception) -> str:
    """What an error says, without the advice and traces that follow."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _check_archive(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(_UNPACKED)) == _UNPACKED:
            return
    with ZipFile(path) as archive:
        changed = archive.testzip()
    if changed is not None:
        raise BadZipFile(f"{changed} is not as it was written")


def _gguf_damage(path: Path) -> str | None:
    from gguf import GGUFReader

    try:
        GGUFReader(path)
    except Exception as error:
        # A damaged length or type sends the reader anywhere.
        return f"{path} is no whole GGUF file ({first_line(error)}): {AGAIN}"
    return None


def _some(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
