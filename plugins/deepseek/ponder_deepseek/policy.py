"""The policy: a DeepSeek-V3 model with its tokenizer, new from a preset or loaded from a directory."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from ponder import Task
from ponder.errors import InputError
from ponder.hf import adapters_only_add, quiet_files, render_prompt
from ponder_deepseek import DeepseekConfig
from ponder_deepseek.checkpoints import load_model
from ponder_deepseek.counts import parameters
from ponder_deepseek.decoding import LatentDecoder
from ponder_deepseek.drafting import MtpDecoder
from ponder_deepseek.fast import accelerate
from ponder_deepseek.mtp import DeepseekV3ForCausalLM, mtp_modules
from ponder_deepseek.objective import DeepseekObjective
from ponder_deepseek.presets import configuration
from ponder_deepseek.routing import DeepseekRouters
from ponder_deepseek.targets import with_targets
from ponder_deepseek.tokenizer import CHAT_TEMPLATES, make_tokenizer

if TYPE_CHECKING:
    from ponder.hf_lora import Adapters

CORPUS_DOCUMENTS = 4000
"""Documents that the tokenizer is trained on: enough for a small vocabulary, and read in a moment."""
LARGEST = 10_000_000_000
"""Parameters of a new model that is still made in memory, which is 40 GB; a larger one has shapes alone."""


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
        source = checkpoint or config.path
        self.tokenizer = _load_tokenizer(source, config) if source else _new_tokenizer(config, task)
        self.model = accelerate(load_model(source) if source else _new_model(config, len(self.tokenizer), seed))
        self._adapters = _adapters(config, self.model if source else None, seed)
        self.model.eval()

    def save(self, directory: Path) -> None:
        """Write safetensors, adapters merged, tokenizer and chat template, loadable by plain transformers."""
        with quiet_files():
            self.merged().save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)

    def merged(self) -> PreTrainedModel:
        """The model in plain weights: a copy with its adapters in them, or, without adapters, itself."""
        return self._adapters.merged() if self._adapters else self.model

    def without_adapters(self) -> AbstractContextManager[None] | None:
        """Has the model compute as it did before it was given adapters; None when it has none."""
        return self._adapters.left_out() if self._adapters else None

    def objective(self) -> DeepseekObjective:
        """What it is pre-trained to do."""
        return DeepseekObjective(self.model, self._config)

    def routers(self) -> DeepseekRouters:
        """Its routers, to be watched, replayed and balanced."""
        return DeepseekRouters(self.model)

    def decoder(self) -> LatentDecoder | None:
        """Incremental decoding over the latent cache with absorbed projections; None where adapters do more than add to weights."""
        return LatentDecoder(self.model) if all(map(adapters_only_add, self.model.modules())) else None

    def drafting_decoder(self) -> MtpDecoder | None:
        """The same with guesses by the modules for multi-token prediction; None also where the model has none."""
        has_own = mtp_modules(self.model) and self.decoder() is not None
        return MtpDecoder(self.model) if has_own else None


def _adapters(config: DeepseekConfig, model: DeepseekV3ForCausalLM | None, seed: int) -> Adapters | None:
    """Those in a model that was loaded: random weights are not worth keeping, and trained whole first."""
    if not config.lora:
        return None
    from ponder.hf_lora import Adapters, check_options

    options = with_targets(config.lora)
    if model is None:
        # Said now, not when the model has been trained whole.
        check_options(options)
        return None
    return Adapters(model, options, seed)


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


def _new_model(config: DeepseekConfig, tokens: int, seed: int) -> DeepseekV3ForCausalLM:
    sizes = config.sizes()
    if parameters(sizes, tokens) > LARGEST:
        with torch.device("meta"):
            return DeepseekV3ForCausalLM(configuration(sizes, tokens))
    # What can run has a row for each token of its tokenizer.
    runs = configuration(dataclasses.replace(sizes, vocabulary=None), tokens)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DeepseekV3ForCausalLM(runs)


def _load_tokenizer(source: Path, config: DeepseekConfig) -> PreTrainedTokenizerBase:
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            source, local_files_only=True, trust_remote_code=False, padding_side="left"
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"cannot load the tokenizer of {source}: {reason}") from None
    tokenizer.chat_template = tokenizer.chat_template or CHAT_TEMPLATES[config.chat_template]
    return tokenizer
