"""From sampled token ids to completions, and the state in which a policy is sampled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ponder import Completion, Policy
from ponder.errors import StageError
from ponder_sampling.prompts import PromptTokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@contextmanager
def sampling_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards each module is in the mode it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module in training:
            module.training = True


def not_finite() -> StageError:
    """The error for a policy whose log-probabilities are NaN or infinite."""
    return StageError(
        "the policy's weights or logits are not finite, so nothing can be sampled from it: "
        "go back to an earlier checkpoint, and lower the learning rate or the gradient norm that is allowed"
    )


def build_completions(
    policy: Policy, prompts: Sequence[PromptTokens], tokens: Tensor, logprobs: Tensor
) -> list[Completion]:
    """A completion for each row of `tokens` [rows, steps] and `logprobs` [rows, steps].

    `prompts` holds each row's prompt. What stands in a row after its first end-of-sequence token, or beyond the prompt's
    room, is ignored.
    """
    eos = policy.tokenizer.eos_token_id
    rooms = torch.tensor([prompt.room for prompt in prompts], dtype=torch.int64)
    lengths = _lengths(tokens.cpu(), rooms, eos)
    rows = [row[:length] for row, length in zip(tokens.tolist(), lengths, strict=True)]
    texts = decode_rows(policy.tokenizer, rows)
    return [
        Completion(
            text=prompt.prefilled + text,
            token_ids=tuple(row),
            logprobs=tuple(values[: len(row)]),
            finish_reason="stop" if row[-1] == eos else "length",
            policy_version=policy.version,
        )
        for prompt, text, row, values in zip(prompts, texts, rows, logprobs.tolist(), strict=True)
    ]


def _lengths(tokens: Tensor, rooms: Tensor, eos: int) -> list[int]:
    is_end = tokens == eos
    first_end = torch.where(is_end.any(1), is_end.int().argmax(1) + 1, tokens.shape[1])
    return torch.minimum(first_end, rooms).tolist()


def decode_rows(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]]) -> list[str]:
    """The text of each row of tokens, without end-of-sequence, padding and beginning-of-sequence tokens."""
    # `skip_special_tokens` would also take out <think> and <answer> where a tokenizer has marked them as special.
    silent = {tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.bos_token_id}
    spoken = [[token for token in row if token not in silent] for row in rows]
    return tokenizer.batch_decode(spoken, skip_special_tokens=False, clean_up_tokenization_spaces=False)
