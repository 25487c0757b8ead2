"""The policy: a causal language model of transformers with its tokenizer, new or loaded, whole or with adapters."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.tokenization_auto import MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS
from transformers.tokenization_utils_tokenizers import TokenizersBackend

from ponder import Task
from ponder.errors import InputError
from ponder.hf import adamw, parameter_groups, quiet_files, render_prompt
from ponder_causal_lm.adapting import (
    adapt_model,
    adapt_tokenizer,
    check_rows,
    make_agree,
    tag_pieces,
    tag_tokens,
    tokens_of,
)
from ponder_causal_lm.config import CausalLMConfig
from ponder_causal_lm.loading import Origin, load_config, load_model, load_tokenizer, origin_of
from ponder_causal_lm.presets import preset
from ponder_causal_lm.targets import with_targets
from ponder_causal_lm.templates import chat_templates
from ponder_causal_lm.tokenizer import LLAMA, QWEN, make_tokenizer

if TYPE_CHECKING:
    from ponder.hf_lora import Adapters

CORPUS_DOCUMENTS = 4000
"""Documents that a tokenizer is trained on: enough for a small vocabulary, and read in a moment."""

TaskFinder = Callable[[str], Task]


class CausalLMPolicy:
    """A causal language model of transformers; see `CausalLMConfig`."""

    def __init__(
        self,
        config: CausalLMConfig,
        checkpoint: Path | None = None,
        seed: int = 0,
        task: TaskFinder | None = None,
    ) -> None:
        self.version = 0
        self._config = config
        is_made = checkpoint is None and config.is_new
        name = str(checkpoint or config.path or config.preset)
        self._origin = None if is_made else origin_of(name)
        self.tokenizer = load_tokenizer(self._origin.directory) if self._origin else _new_tokenizer(config, task)
        pieces, tokens = tag_pieces(self.tokenizer), tokens_of(self.tokenizer)
        if checkpoint is None:
            adapt_tokenizer(self.tokenizer, config, name)
        self.chat_templates: Mapping[str, str] = chat_templates(self.tokenizer)
        self.model = (
            load_model(self._origin.weights, config) if self._origin else _new_model(config, self.tokenizer, seed)
        )
        if self._origin is not None:
            check_rows(self.model, tokens, name)
        if checkpoint is None or (self._origin is not None and self._origin.adapters is not None):
            adapt_model(self.model, self.tokenizer, config, pieces)
        make_agree(self.model, self.tokenizer, name)
        self._adapters = self._adapted(self._origin, seed)
        self.model.eval()

    def save(self, directory: Path) -> None:
        """Write safetensors, tokenizer and chat template, loadable by plain transformers; adapters merged, or alone."""
        if self._adapters is not None and self._origin is not None and self._config.saves_alone:
            self._adapters.save(directory, self._origin.base)
        else:
            with quiet_files():
                self.merged().save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)
        if type(self.tokenizer) is TokenizersBackend:
            _insist_on_tokenizer_class(directory, self.model.config.model_type)

    def merged(self) -> PreTrainedModel:
        """The model in plain weights: a copy with its adapters in them, or, without adapters, itself."""
        return self.model if self._adapters is None else self._adapters.merged()

    def without_adapters(self) -> AbstractContextManager[None] | None:
        """Has the model compute as it did when this policy was made; None when it has no adapters."""
        return self._adapters.left_out() if self._adapters else None

    def optimizer(self, learning_rate: float, betas: tuple[float, float], weight_decay: float) -> torch.optim.Optimizer:
        """What trains it."""
        if self._config.optimizer == "adamw":
            return adamw(self.model, learning_rate, betas, weight_decay)
        from bitsandbytes.optim import AdamW8bit

        made: torch.optim.Optimizer = AdamW8bit(parameter_groups(self.model, weight_decay), learning_rate, betas)
        return made

    def _adapted(self, origin: Origin | None, seed: int) -> Adapters | None:
        """The adapters of the recipe, new or those that the policy comes with; what comes with others has them merged.

        A new model has none yet: random weights are not worth keeping, and what starts from them is trained whole.
        """
        if not self._config.lora and (origin is None or origin.adapters is None):
            return None
        from ponder.hf_lora import Adapters, check_options, stored_options

        if origin is None:
            # Said now, not when the model has been trained whole.
            check_options(self._options())
            return None
        if self._config.lora:
            return Adapters(self.model, self._options(), seed, origin.adapters)
        assert origin.adapters is not None
        merged = Adapters(self.model, stored_options(origin.adapters), seed, origin.adapters).merged()
        self.model = merged.requires_grad_(True)
        return None

    def _options(self) -> dict[str, Any]:
        """Of the adapters: on all linear layers unless the recipe names others, and on tags that are new tokens."""
        options = with_targets(self._config.lora)
        if self._config.tags == "tokens" and not options.get("trainable_token_indices"):
            options["trainable_token_indices"] = tag_tokens(self.tokenizer)
        return options


def _new_tokenizer(config: CausalLMConfig, task: TaskFinder | None) -> PreTrainedTokenizerBase:
    if config.preset is None and config.corpus is None:
        return load_tokenizer(str(config.path))
    kind = str(config.preset) if config.preset else load_config(str(config.path)).model_type
    family = QWEN if kind.startswith("qwen") else LLAMA
    tokenizer = make_tokenizer(family, (), config.vocab_size)
    tokenizer.chat_template = chat_templates(tokenizer)["r1_zero"]
    if config.corpus is None:
        return tokenizer
    if task is None:
        raise InputError(
            f"the tokenizer is to be trained on the task {config.corpus!r}, but no recipe is there to find it in"
        )
    documents = itertools.islice(task(config.corpus).examples(), CORPUS_DOCUMENTS)
    texts = (render_prompt(tokenizer, document.prompt) for document in documents)
    trained = make_tokenizer(family, texts, config.vocab_size)
    trained.chat_template = tokenizer.chat_template
    return trained


def _new_model(config: CausalLMConfig, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    sizes = _sizes(config, len(tokenizer))
    sizes.bos_token_id, sizes.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
    sizes.pad_token_id = tokenizer.pad_token_id
    if config.init_std is not None:
        sizes.initializer_range = config.init_std
    options: dict[str, Any] = {} if config.dtype == "auto" else {"dtype": getattr(torch, config.dtype)}
    if config.attention is not None:
        options["attn_implementation"] = config.attention
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(sizes, **options)
    return model


def _sizes(config: CausalLMConfig, tokens: int) -> PreTrainedConfig:
    """Of a new model; a tokenizer of its own decides how many tokens there are."""
    if config.preset is not None:
        return preset(config.preset, tokens)
    sizes = load_config(str(config.path))
    sizes.vocab_size = tokens if config.corpus is not None else max(tokens, sizes.vocab_size)
    return sizes


def _insist_on_tokenizer_class(directory: Path, model_type: str) -> None:
    """Let AutoTokenizer take the tokenizer as it was saved.

    For some architectures, Qwen 2 among them, it distrusts the class in `tokenizer_config.json` and cuts text with the
    architecture's published pattern, so that the same text gets other ids. It takes the saved one where an `auto_map` is
    given, which it follows only for those who allow a repository's own code.
    """
    if model_type in MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS:
        path = directory / "tokenizer_config.json"
        saved = json.loads(path.read_text(encoding="utf-8"))
        saved["auto_map"] = {"AutoTokenizer": [None, f"transformers.{saved['tokenizer_class']}"]}
        path.write_text(json.dumps(saved, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
