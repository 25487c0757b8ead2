"""A policy's weights, tokenizer and sampling defaults in plain transformers' files."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from ponder.errors import InputError
from ponder.hf import merged_model, quiet_files
from ponder.interfaces import Policy
from ponder.prompts import render_prompt
from ponder.text import THINK_CLOSE, THINK_OPEN
from ponder.types import Message

TEMPERATURE, TOP_P = 0.6, 0.95
"""What DeepSeek-R1 is sampled with (Methods)."""
_ADAPTER_FILES: Final = ("adapter_model.safetensors", "adapter_config.json")


@dataclass(frozen=True, slots=True)
class Facts:
    """What was written of a policy."""

    architecture: str
    parameters: int
    dtype: str
    prefills: bool
    """Whether a rendered prompt ends with an opened <think>, so that a server must be told that the answer begins inside it."""
    gguf: str = ""
    """The name of the GGUF file; empty where transformers' files were written."""

    @property
    def summary(self) -> str:
        """In a line."""
        thinks = "; its prompts end with an opened <think>" if self.prefills else ""
        return f"{self.architecture}, {self.parameters:,} parameters in {self.dtype}{thinks}"


def write_policy(policy: Policy, directory: Path, dtype: str | None) -> Facts:
    """Everything that transformers' Auto classes read, adapters merged; `dtype` None keeps the precision of training."""
    policy.save(directory)
    is_alone = any((directory / name).exists() for name in _ADAPTER_FILES)
    model = merged_model(policy)
    if dtype is not None or is_alone:
        model = _in_precision(model, getattr(torch, dtype) if dtype else model.dtype)
        for name in (*_ADAPTER_FILES, "model.safetensors"):
            (directory / name).unlink(missing_ok=True)
        with quiet_files():
            model.save_pretrained(directory)
    if policy.tokenizer.eos_token_id is None:
        raise InputError("the policy's tokenizer has no eos_token: nobody who loads it could tell where an answer ends")
    _say_how_to_sample(policy, directory)
    _say_how_to_read(policy.tokenizer, directory)
    _leave_out_places(directory)
    count = sum(parameter.numel() for parameter in model.parameters())
    name = str(model.dtype).removeprefix("torch.")
    return Facts(type(model).__name__, count, name, prefills(policy.tokenizer))


def prefills(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a rendered prompt ends with an opened <think>."""
    prompt = render_prompt(tokenizer, [{"role": "user", "content": "1 + 1?"}])
    return prompt.rstrip().endswith(THINK_OPEN)


def _in_precision(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """A copy in another precision, but for what its architecture holds in float32, such as DeepSeek-V3's routing bias."""
    made = copy.deepcopy(model).to(dtype)
    exact = tuple(getattr(model, "_keep_in_fp32_modules_strict", None) or ())
    for name, value in model.state_dict().items():
        if any(part in name.split(".") for part in exact):
            module, _, last = name.rpartition(".")
            holder: Any = made.get_submodule(module)
            getattr(holder, last).data = value.clone()
    return made


def _say_how_to_sample(policy: Policy, directory: Path) -> None:
    tokenizer = policy.tokenizer
    GenerationConfig(
        do_sample=True,
        temperature=TEMPERATURE,
        top_p=TOP_P,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    ).save_pretrained(directory)


def _say_how_to_read(tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    """Tell transformers' own server where thinking ends and the answer begins, which its parser reads off the prompt's end."""
    prompt: list[Message] = [{"role": "user", "content": "1 + 1?"}]
    opened = render_prompt(tokenizer, prompt).rstrip()
    asked = str(tokenizer.apply_chat_template(prompt, tokenize=False)) if tokenizer.chat_template else opened
    anchor = opened.removeprefix(asked).removesuffix(THINK_OPEN)
    if not opened.endswith(THINK_OPEN) or not anchor:
        return
    path = directory / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["response_template"] = {
        "defaults": {"role": "assistant"},
        "start_anchor": anchor,
        "fields": {
            "reasoning_content": {"open": THINK_OPEN, "close": THINK_CLOSE, "content": "text"},
            "content": {"close": tokenizer.eos_token, "content": "text"},
        },
    }
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _leave_out_places(directory: Path) -> None:
    """Where files lay on this machine is nobody's business."""
    for path in directory.glob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        places = {"_name_or_path", "name_or_path"} & content.keys() if isinstance(content, dict) else set[str]()
        if places:
            kept = {name: value for name, value in content.items() if name not in places}
            path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
