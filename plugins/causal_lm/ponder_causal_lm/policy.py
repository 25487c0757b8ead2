"""The policy: a causal language model of transformers with its tokenizer, new from a preset or loaded."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.tokenization_auto import MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS
from transformers.tokenization_utils_tokenizers import TokenizersBackend

from ponder import Task
from ponder.errors import InputError
from ponder.hf import quiet_files, render_prompt
from ponder_causal_lm import CausalLMConfig
from ponder_causal_lm.presets import preset
from ponder_causal_lm.templates import chat_templates
from ponder_causal_lm.tokenizer import LLAMA, QWEN, make_tokenizer

CORPUS_DOCUMENTS = 4000
"""Documents that a tokenizer is trained on: enough for a small vocabulary, and read in a moment."""
PADS = ("<|finetune_right_pad_id|>", "<|pad|>", "<pad>", "[PAD]", "<|endoftext|>", "<unk>")
"""Tokens that models which name no pad token have for it, or never use."""

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
        source = config.path if checkpoint is None else str(checkpoint)
        if source is None:
            self.tokenizer = _new_tokenizer(config, task)
            self.model = _new_model(config, self.tokenizer, seed)
        else:
            self.tokenizer = _load_tokenizer(source)
            self.model = _load_model(source)
        self.chat_templates: Mapping[str, str] = chat_templates(self.tokenizer)
        if checkpoint is None:
            self._adapt(config)
        self.model.eval()

    def save(self, directory: Path) -> None:
        """Write safetensors, tokenizer and chat template, loadable by plain transformers."""
        with quiet_files():
            self.model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)
        if type(self.tokenizer) is TokenizersBackend:
            _insist_on_tokenizer_class(directory, self.model.config.model_type)

    def _adapt(self, config: CausalLMConfig) -> None:
        """What the recipe sets, whatever it was before."""
        if config.context_length is not None:
            self.model.config.max_position_embeddings = config.context_length
        if config.chat_template is not None:
            if config.chat_template not in self.chat_templates:
                raise InputError(
                    f"the tokenizer of {config.path} has neither Qwen's nor Llama's role tokens, which chat_template "
                    f"{config.chat_template!r} is made of: use r1_zero, or leave chat_template out for the tokenizer's own"
                )
            self.tokenizer.chat_template = self.chat_templates[config.chat_template]


def _new_tokenizer(config: CausalLMConfig, task: TaskFinder | None) -> PreTrainedTokenizerBase:
    family = QWEN if str(config.preset).startswith("qwen2") else LLAMA
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
    sizes = preset(str(config.preset), len(tokenizer))
    sizes.bos_token_id, sizes.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
    sizes.pad_token_id = tokenizer.pad_token_id
    if config.init_std is not None:
        sizes.initializer_range = config.init_std
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(sizes)


def _load_model(source: str) -> PreTrainedModel:
    with quiet_files():
        return from_pretrained(AutoModelForCausalLM, source, dtype="auto")


def _load_tokenizer(source: str) -> PreTrainedTokenizerBase:
    tokenizer = from_pretrained(AutoTokenizer, source, padding_side="left")
    if tokenizer.pad_token_id is None:
        # Never the end-of-sequence token: a trainer that ignores padding would then not teach a model to stop.
        known = tokenizer.get_vocab()
        tokenizer.pad_token = next((pad for pad in PADS if pad in known and pad != tokenizer.eos_token), None)
    return tokenizer


def from_pretrained(kind: Any, source: str, **options: object) -> Any:
    """From a directory or Hugging Face's cache; a name that is in neither is asked for over the network."""
    try:
        try:
            return kind.from_pretrained(source, local_files_only=True, trust_remote_code=False, **options)
        except OSError:
            if Path(source).exists():
                raise
            return kind.from_pretrained(source, trust_remote_code=False, **options)
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"cannot load a causal language model from {source}: {reason}") from None


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
