"""Prompts as token ids, checked against the policy before anything is computed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ponder import Example, Policy
from ponder.errors import InputError
from ponder.hf import encode_prompt, prefilled_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """A prompt as the model reads it."""

    token_ids: tuple[int, ...]
    prefilled: str
    """What the chat template put into the assistant's mouth."""
    room: int
    """How many tokens may follow: the sampler's limit, or what is left of the model's context."""


def read_prompts(
    policy: Policy, examples: Sequence[Example], max_new_tokens: int, context: int | None = None
) -> list[PromptTokens]:
    """Encode the prompts of `examples`; `context` is how many tokens can be read where that is fewer than the model's.

    Raises:
        InputError: the tokenizer has no end-of-sequence or pad token, or tokens that the model does not know; a prompt is empty
            or fills the model's context.
    """
    check_tokenizer(policy.tokenizer)
    holds = min(_context(policy), context or sys.maxsize)
    return [_read(policy, index, example, max_new_tokens, holds) for index, example in enumerate(examples)]


def check_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer without the tokens that sampling needs."""
    for name, use in (
        ("eos", "a completion could never end"),
        ("pad", "prompts of unequal length could not be batched"),
    ):
        if getattr(tokenizer, f"{name}_token_id") is None:
            raise InputError(
                f"the policy's tokenizer has no {name} token, so {use}: set `{name}_token` in its tokenizer_config.json "
                f"(or `tokenizer.{name}_token` before saving it) to a token of its vocabulary"
            )


def _read(policy: Policy, index: int, example: Example, max_new_tokens: int, context: int) -> PromptTokens:
    token_ids = tuple(encode_prompt(policy.tokenizer, example.prompt))
    place = f"prompt {index} of the batch (it begins {str(example.prompt)[:60]!r})"
    if not token_ids:
        raise InputError(f"{place} has no tokens: give the task's example a prompt, or leave it out")
    _check_vocabulary(policy, token_ids, place)
    room = min(max_new_tokens, context - len(token_ids))
    if room < 1:
        raise InputError(
            f"{place} has {len(token_ids)} tokens and the model's context holds {context}, so nothing can follow it: "
            "shorten or leave out the example, or use a policy with a longer context"
        )
    return PromptTokens(token_ids, prefilled_text(policy.tokenizer, example.prompt), room)


def _check_vocabulary(policy: Policy, token_ids: Sequence[int], place: str) -> None:
    known = getattr(policy.model.config, "vocab_size", sys.maxsize)
    if max(token_ids) >= known:
        raise InputError(
            f"{place} has the token id {max(token_ids)}, but the model knows {known} tokens: its tokenizer has tokens that were "
            "added after training; resize the model's embeddings to it, or use the tokenizer it was trained with"
        )


def _context(policy: Policy) -> int:
    """How many tokens the model can read; without bound where its configuration sets none."""
    return getattr(policy.model.config, "max_position_embeddings", None) or sys.maxsize
