"""From a task's examples to token ids: the prompt as samplers render it, the response behind it, and the end of the sequence."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jinja2 import TemplateError
from torch import Tensor

from ponder import Example
from ponder.errors import InputError
from ponder.hf import prefilled_text, render_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BLOCK = 512
"""Rows that are tokenized together."""
SHOWN_PROBLEMS = 5


@dataclass(frozen=True, slots=True)
class Conversation:
    """A row of the task as token ids."""

    tokens: Tensor
    """[length], int32: the prompt, the response, and the end of the sequence."""
    prompt_length: int
    """Tokens of the prompt, what the chat template prefilled included: they are read and not learnt."""

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def learnt(self) -> int:
        """Tokens that count in the loss; the first of a row has nothing to be predicted from."""
        return len(self.tokens) - max(1, self.prompt_length)


def read_conversations(
    examples: Iterable[Example], tokenizer: PreTrainedTokenizerBase, task: str
) -> list[Conversation]:
    """Every row of the task.

    Raises:
        InputError: there are no rows, or rows that nothing can be learnt from; all are counted, the first ones named.
    """
    conversations: list[Conversation] = []
    problems: list[str] = []
    numbered = enumerate(examples, start=1)
    while block := list(itertools.islice(numbered, BLOCK)):
        conversations += _read_block(block, tokenizer, problems)
    if problems:
        shown = "\n  ".join(problems[:SHOWN_PROBLEMS])
        more = f"\n  and {len(problems) - SHOWN_PROBLEMS:,} more" if len(problems) > SHOWN_PROBLEMS else ""
        raise InputError(f"task {task!r}: {len(problems):,} row(s) that cannot be learnt from\n  {shown}{more}")
    if not conversations:
        raise InputError(f"task {task!r} has no rows to learn from")
    return conversations


def response_of(example: Example) -> object:
    """What the policy shall say: the column `response`, or the answer of an example without one."""
    response = example.metadata.get("response")
    return example.answer if response is None else response


def _read_block(
    block: Sequence[tuple[int, Example]], tokenizer: PreTrainedTokenizerBase, problems: list[str]
) -> Iterator[Conversation]:
    numbers, prompts, responses = [], [], []
    for number, example in block:
        try:
            response = _open_response(example, tokenizer)
        except (ValueError, TemplateError) as problem:
            problems.append(f"row {number}: {problem}")
            continue
        numbers.append(number)
        prompts.append(render_prompt(tokenizer, example.prompt))
        responses.append(response)
    for number, before, after in zip(numbers, *_tokenize(tokenizer, prompts, responses), strict=True):
        try:
            ended = _with_end(after, tokenizer)
        except ValueError as problem:
            problems.append(f"row {number}: {problem}")
            continue
        yield Conversation(torch.tensor([*before, *ended], dtype=torch.int32), len(before))


def _open_response(example: Example, tokenizer: PreTrainedTokenizerBase) -> str:
    """The response without what the chat template puts in front of it."""
    response = response_of(example)
    if response is None:
        raise ValueError("neither a response nor an answer")
    if not isinstance(response, str):
        raise ValueError(f"the response is no text but {type(response).__name__}")
    if not response.strip():
        raise ValueError("the response is empty")
    prefill = prefilled_text(tokenizer, example.prompt)
    if not prefill:
        return response
    if not response.lstrip().startswith(prefill):
        raise ValueError(
            f"the chat template begins the response with {prefill!r}, but it begins with {response[:20]!r}: "
            f"begin it with {prefill!r}, or choose a chat template without it"
        )
    opened = response.lstrip()[len(prefill) :]
    if not opened.strip():
        raise ValueError(f"the response is empty behind {prefill!r}")
    return opened


def _tokenize(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], responses: Sequence[str]
) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids of prompts and responses; a prompt's are those that a sampler gives the policy."""
    if not prompts:
        return [], []
    before = tokenizer(list(prompts), add_special_tokens=False)["input_ids"]
    joined = [prompt + response for prompt, response in zip(prompts, responses, strict=True)]
    whole = tokenizer(joined, add_special_tokens=False)["input_ids"]
    # Some tokenizers begin every text with a space of their own, so the response is cut from the whole; where its first token
    # grew together with the prompt's last, it is cut on its own, as a sampler goes on from the prompt's tokens.
    after = [
        ids[len(start) :] if ids[: len(start)] == start else tokenizer(response, add_special_tokens=False)["input_ids"]
        for start, ids, response in zip(before, whole, responses, strict=True)
    ]
    return before, after


def _with_end(response: list[int], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    end = tokenizer.eos_token_id
    body = response[:-1] if response and response[-1] == end else response
    if end in body:
        raise ValueError(
            f"{tokenizer.eos_token!r} stands in the middle of the response, where it would be learnt as no end"
        )
    if not body:
        raise ValueError("the response is empty")
    return [*body, end]
