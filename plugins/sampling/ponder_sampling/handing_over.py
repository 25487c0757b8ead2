"""A policy's weights in files, for a server that has another process's memory."""

from __future__ import annotations

import json
import tempfile
import weakref
from pathlib import Path
from typing import Any

from ponder import Policy
from ponder.errors import InputError
from ponder.hf import merged_model, quiet_files
from ponder.hf_quantised import is_quantised

_LATENT = {"kv_lora_rank": 512, "qk_rope_head_dim": 64}
"""The only sizes of DeepSeek's latent attention that vLLM's kernels know."""
_ROUTING = "noaux_tc"


def check_servable(policy: Policy) -> None:
    """Refuse a policy whose architecture would end vLLM's engine at the first request."""
    config = policy.model.config
    if "deepseek_v3" not in str(config.model_type):
        return
    sizes = {name: getattr(config, name, None) for name in _LATENT}
    if sizes != _LATENT:
        raise InputError(
            f"vLLM serves DeepSeek-V3 with kv_lora_rank 512 and qk_rope_head_dim 64 alone, and this policy has {sizes['kv_lora_rank']} and "
            f"{sizes['qk_rope_head_dim']}: sample it with `type: fast`"
        )
    routing = getattr(config, "topk_method", _ROUTING)
    if routing != _ROUTING:
        raise InputError(
            f"vLLM serves DeepSeek-V3 with topk_method: {_ROUTING} alone, and this policy's configuration says {routing!r}: sample it "
            "with `type: fast`"
        )


def adapter_rank(policy: Policy) -> int:
    """The largest rank of the policy's LoRA adapters. Raises InputError when it has none that can be handed over alone."""
    config = _adapter_config(policy)
    if config.use_dora:
        raise InputError("push: adapter: vLLM serves no DoRA adapters: use `push: weights`, or leave use_dora out")
    return max([config.r, *(config.rank_pattern or {}).values()])


class Exchange:
    """The directory through which weights go, which is emptied of them in the end."""

    def __init__(self, parent: str | None) -> None:
        if parent is not None:
            Path(parent).expanduser().mkdir(parents=True, exist_ok=True)
        self._adapters = 0
        self._directory = tempfile.TemporaryDirectory(
            prefix="ponder-vllm-", dir=parent and Path(parent).expanduser().absolute(), ignore_cleanup_errors=True
        )
        self._base_of: weakref.ref[Any] | None = None

    def whole(self, policy: Policy) -> Path:
        """The policy with its adapters merged, buffers included, as transformers loads it."""
        directory = self._made("weights")
        policy.save(directory)
        if not (directory / "config.json").exists():
            # A policy may save its adapters alone.
            with quiet_files():
                merged_model(policy).save_pretrained(directory)
        policy.tokenizer.save_pretrained(directory)
        _name_routing(directory)
        return directory

    def base(self, policy: Policy) -> Path:
        """The policy without its adapters; written once."""
        directory = self._made("base")
        if self._base_of is not None and self._base_of() is policy:
            return directory
        if is_quantised(policy.model):
            raise InputError(
                "push: adapter: the policy's weights are quantised, and so is no model that vLLM could load: name the one that the "
                "adapters belong to (`model: Qwen/Qwen2.5-0.5B`)"
            )
        state = {
            name.replace(".base_layer", ""): tensor
            for name, tensor in policy.model.state_dict().items()
            if ".lora_" not in name
        }
        with quiet_files():
            policy.model.save_pretrained(directory, state_dict=state)
        policy.tokenizer.save_pretrained(directory)
        _name_routing(directory)
        self._base_of = weakref.ref(policy)
        return directory

    def adapter(self, policy: Policy) -> Path:
        """The policy's adapters alone, in peft's format, in a directory that was not there before."""
        # Loads peft, which only policies with adapters need.
        from ponder.hf_lora import write_adapters

        self._adapters += 1
        directory = self._made(f"adapter-{self._adapters}")
        write_adapters(policy.model, _adapter_config(policy), directory, str(policy.model.config._name_or_path or ""))
        return directory

    def close(self) -> None:
        """Take the directory away."""
        self._directory.cleanup()

    def _made(self, name: str) -> Path:
        directory = Path(self._directory.name) / name
        directory.mkdir(exist_ok=True)
        return directory


def _adapter_config(policy: Policy) -> Any:
    configs = getattr(policy.model, "peft_config", None) or {}
    if "default" not in configs:
        raise InputError(
            "push: adapter: the policy has no LoRA adapters: give it some (`lora`), or use `push: weights`"
        )
    return configs["default"]


def _name_routing(directory: Path) -> None:
    """Say how experts are chosen, which transformers' configuration leaves unsaid and vLLM asks for."""
    path = directory / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    if config.get("model_type") == "deepseek_v3":
        path.write_text(json.dumps({**config, "topk_method": _ROUTING}, indent=2), encoding="utf-8")
