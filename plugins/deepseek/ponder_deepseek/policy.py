"""The policy: a DeepSeek-V3 model with its tokenizer, new from a preset or loaded from a directory."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoTokenizer, DeepseekV3ForCausalLM, PreTrainedTokenizerBase

from ponder import Task
from ponder.errors import InputError
from ponder.hf import quiet_files, render_prompt
from ponder_deepseek import DeepseekConfig
from ponder_deepseek.checkpoints import load_model
from ponder_deepseek.counts import parameters
from ponder_deepseek.decoding import LatentDecoder
from ponder_deepseek.fast import accelerate
from ponder_deepseek.objective import DeepseekObjective
from ponder_deepseek.presets import configuration
from ponder_deepseek.tokenizer import CHAT_TEMPLATES, make_tokenizer

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
        self.model.eval()

    def save(self, directory: Path) -> None:
        """Write safetensors, tokenizer and chat template, loadable by plain transformers."""
        with quiet_files():
            self.model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)

    def objective(self) -> DeepseekObjective:
        """What it is pre-trained to do; making one starts to count the experts' loads."""
        return DeepseekObjective(self.model, self._config)

    def decoder(self) -> LatentDecoder:
        """Incremental decoding over the latent cache with absorbed projections."""
        return LatentDecoder(self.model)


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
