"""What the recipe sets in a policy's tokenizer and model, whatever it was before; what is put right is said."""

from __future__ import annotations

import logging
from typing import Any, Final

import torch
from tokenizers import AddedToken
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ponder.chat_templates import set_template_file
from ponder.errors import InputError
from ponder_causal_lm.config import CausalLMConfig
from ponder_causal_lm.templates import chat_templates
from ponder_causal_lm.tokenizer import TAGS

PADS: Final = ("<|finetune_right_pad_id|>", "<|pad|>", "<pad>", "[PAD]", "<|endoftext|>", "<unk>")
"""Tokens that models which name no pad token have for it, or never use."""

_logger = logging.getLogger("ponder")


def adapt_tokenizer(tokenizer: PreTrainedTokenizerBase, config: CausalLMConfig, name: str) -> None:
    """Chat template, end of sequence, padding and tags as the recipe has them."""
    _set_template(tokenizer, config, name)
    if config.eos_token is not None:
        if config.eos_token not in tokenizer.get_vocab():
            raise InputError(f"eos_token: the tokenizer of {name} has no token {config.eos_token!r}")
        tokenizer.eos_token = config.eos_token
    if config.pad_token is not None:
        tokenizer.add_special_tokens({"pad_token": config.pad_token})
    mend_padding(tokenizer, name)
    if config.tags == "tokens":
        known = tokenizer.get_vocab()
        tokenizer.add_tokens([AddedToken(tag, normalized=False, special=False) for tag in TAGS if tag not in known])


def mend_padding(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Never the end-of-sequence token: a trainer that ignores padding would then not teach a model to stop."""
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id != tokenizer.eos_token_id:
        return
    known = tokenizer.get_vocab()
    chosen = next((pad for pad in PADS if pad in known and pad != tokenizer.eos_token), None)
    was = "no pad token" if tokenizer.pad_token is None else f"the end of sequence {tokenizer.eos_token!r} as pad token"
    tokenizer.pad_token = chosen
    if chosen is None:
        _logger.warning("%s has %s, and no token that could be one: set pad_token", name, was)
    else:
        _logger.warning("%s has %s: it is now %r", name, was, chosen)


def adapt_model(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: CausalLMConfig, pieces: list[list[int]]
) -> None:
    """Longest sequence, and rows for new tokens; `pieces` are what each tag was cut into before it was a token."""
    if config.context_length is not None:
        model.config.max_position_embeddings = config.context_length
    rows, tokens = model.get_input_embeddings().weight.shape[0], tokens_of(tokenizer)
    if tokens > rows:
        if config.lora and config.saves_alone:
            raise InputError(
                f"pad_token: {config.pad_token!r} is new and needs a row in the embeddings, which adapters alone lack: choose a "
                "token that the tokenizer has, or set save_adapters: merged"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model.resize_token_embeddings(tokens, mean_resizing=False)
        _logger.warning("the embeddings have %d rows for new tokens now, %d before", tokens, rows)
    if config.tags == "tokens":
        for weight in _embeddings(model):
            _place_tags(weight, tokenizer, pieces)


def check_rows(model: PreTrainedModel, tokens: int, name: str) -> None:
    """Raise InputError unless there is an embedding for each of so many tokens, as the tokenizer came."""
    rows = model.get_input_embeddings().weight.shape[0]
    if tokens > rows:
        raise InputError(
            f"{name}: its tokenizer has {tokens} tokens and its model {rows} embeddings, so they do not belong together: "
            "put the tokenizer beside it that it was trained with"
        )


def make_agree(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """The model knows the tokenizer's end of sequence and padding."""
    eos, generation = tokenizer.eos_token_id, model.generation_config
    for settings in (model.config, generation):
        if settings is None:
            continue
        settings.pad_token_id = tokenizer.pad_token_id
        if eos is not None and not _stops_at(settings.eos_token_id, eos):
            if settings is generation and settings.eos_token_id is not None:
                _logger.warning(
                    "%s stopped at token %s: it is now %r", name, settings.eos_token_id, tokenizer.eos_token
                )
            settings.eos_token_id = eos


def tokens_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """Rows that the tokenizer's ids need."""
    return max(tokenizer.get_vocab().values(), default=-1) + 1


def tag_pieces(tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """What each tag is cut into."""
    return [tokenizer(tag, add_special_tokens=False)["input_ids"] for tag in TAGS]


def tag_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tags as tokens."""
    return [int(tokenizer.convert_tokens_to_ids(tag)) for tag in TAGS]


def _set_template(tokenizer: PreTrainedTokenizerBase, config: CausalLMConfig, name: str) -> None:
    templates = chat_templates(tokenizer)
    if config.chat_template_file is not None:
        set_template_file(tokenizer, config.chat_template_file)
    elif config.chat_template is not None:
        if config.chat_template not in templates:
            raise InputError(
                f"the tokenizer of {name} has neither Qwen's nor Llama's role tokens, which chat_template "
                f"{config.chat_template!r} is made of: use r1_zero, or leave chat_template out for the tokenizer's own"
            )
        tokenizer.chat_template = templates[config.chat_template]


@torch.no_grad()
def _place_tags(weight: Tensor, tokenizer: PreTrainedTokenizerBase, pieces: list[list[int]]) -> None:
    """A new token begins as the mean of its pieces."""
    for token, cut in zip(tag_tokens(tokenizer), pieces, strict=True):
        if cut != [token]:
            weight[token] = weight[cut].mean(0)


def _embeddings(model: PreTrainedModel) -> list[Tensor]:
    """The weights of input and output, once where they are tied."""
    layers: list[Any] = [model.get_input_embeddings(), model.get_output_embeddings()]
    return list({id(layer.weight): layer.weight for layer in layers if layer is not None}.values())


def _stops_at(stops: int | list[int] | None, eos: int) -> bool:
    return eos in stops if isinstance(stops, list) else stops == eos
