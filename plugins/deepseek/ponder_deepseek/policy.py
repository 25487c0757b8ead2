"""The policy: a DeepSeek-V3 model with its tokenizer, new from a preset or loaded from a directory."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import AutoTokenizer, DeepseekV3ForCausalLM, PreTrainedTokenizerBase

from ponder import Task
from ponder.errors import InputError
from ponder.hf import quiet_files, render_prompt
from ponder_deepseek import DeepseekConfig
from ponder_deepseek.decoding import LatentDecoder
from ponder_deepseek.objective import DeepseekObjective
from ponder_deepseek.presets import preset
from ponder_deepseek.targets import with_targets
from ponder_deepseek.tokenizer import CHAT_TEMPLATES, make_tokenizer

if TYPE_CHECKING:
    from ponder.hf_lora import Adapters

CORPUS_DOCUMENTS = 4000
"""Documents that the tokenizer is trained on: enough for a small vocabulary, and read in a moment."""


class DeepseekPolicy:
    """A DeepSeek-V3 mixture of experts that can be trained from scratch; see `DeepseekConfig`."""

    chat_templates = CHAT_TEMPLATES
    """By name, what `sft` may make the policy's chat template."""

    def __init__(
        self,
        config: DeepseekConfig,
        checkpoint: Path | None = None,
        seed: int = 0,
        task: Callable[[str], Task] | None = None,
    ) -> None:
        self._config = config
        self.version = 0
        self.tokenizer = _load_tokenizer(checkpoint) if checkpoint else _new_tokenizer(config, task)
        self.model = _load_model(checkpoint) if checkpoint else _new_model(config, len(self.tokenizer), seed)
        # Random weights are not worth keeping: what starts from them is trained whole.
        self._adapters = _adapters(config, self.model, seed) if checkpoint else None
        self.model.eval()

    def save(self, directory: Path) -> None:
        """Write safetensors, adapters merged, tokenizer and chat template, loadable by plain transformers."""
        with quiet_files():
            (self._adapters.merged() if self._adapters else self.model).save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)

    def without_adapters(self) -> AbstractContextManager[None] | None:
        """Has the model compute as it did before it was given adapters; None when it has none."""
        return self._adapters.left_out() if self._adapters else None

    def objective(self) -> DeepseekObjective:
        """What it is pre-trained to do; making one starts to count the experts' loads."""
        return DeepseekObjective(self.model, self._config)

    def decoder(self) -> LatentDecoder:
        """Incremental decoding over the latent cache with absorbed projections."""
        return LatentDecoder(self.model)


def _adapters(config: DeepseekConfig, model: DeepseekV3ForCausalLM, seed: int) -> Adapters | None:
    if not config.lora:
        return None
    from ponder.hf_lora import Adapters

    return Adapters(model, with_targets(config.lora), seed)


def _new_tokenizer(config: DeepseekConfig, task: Callable[[str], Task] | None) -> PreTrainedTokenizerBase:
    if config.corpus is None:
        return make_tokenizer((), config.vocab_size, config.chat_template)
    if task is None:
        raise InputError(
            f"the tokenizer is to be trained on the task {config.corpus!r}, but no recipe is there to find it in"
        )
    documents = itertools.islice(task(config.corpus).examples(), CORPUS_DOCUMENTS)
    byte_level = make_tokenizer((), config.vocab_size, config.chat_template)
    texts = (render_prompt(byte_level, document.prompt) for document in documents)
    return make_tokenizer(texts, config.vocab_size, config.chat_template)


def _new_model(config: DeepseekConfig, vocab_size: int, seed: int) -> DeepseekV3ForCausalLM:
    sizes = preset(config.preset, vocab_size)
    if config.context_length is not None:
        sizes.max_position_embeddings = config.context_length
    if config.init_std is not None:
        sizes.initializer_range = config.init_std
    if config.preset == "v3_671b":
        with torch.device("meta"):
            return DeepseekV3ForCausalLM(sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _with_fast_experts(DeepseekV3ForCausalLM(sizes))


def _load_model(checkpoint: Path) -> DeepseekV3ForCausalLM:
    with quiet_files():
        return _with_fast_experts(
            DeepseekV3ForCausalLM.from_pretrained(checkpoint, dtype="auto", local_files_only=True)
        )


def _load_tokenizer(checkpoint: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)


def _with_fast_experts(model: DeepseekV3ForCausalLM) -> DeepseekV3ForCausalLM:
    # The fastest of transformers' expert implementations that runs on every device.
    model.set_experts_implementation("grouped_mm")
    return model
