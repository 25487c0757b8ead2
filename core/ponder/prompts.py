"""From an example's prompt to what a policy is given. Needs a tokenizer of transformers, but not transformers itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ponder.errors import InputError
from ponder.types import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def render_prompt(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> str:
    """The text a policy is given: a plain string as it is, messages through the chat template, open for the assistant."""
    if isinstance(prompt, str):
        return prompt
    if not tokenizer.chat_template:
        raise InputError(
            "the prompt is a list of chat messages, but the policy's tokenizer has no chat template: "
            "give the policy a chat template, or the task plain-text prompts"
        )
    return str(tokenizer.apply_chat_template(list(prompt), tokenize=False, add_generation_prompt=True))


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[int]:
    """Token ids of the rendered prompt, with no special tokens added to it."""
    return list(tokenizer(render_prompt(tokenizer, prompt), add_special_tokens=False)["input_ids"])


def prefilled_text(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> str:
    """What the chat template puts into the assistant's mouth: an opened `<think>` with what follows it, or nothing."""
    rendered = render_prompt(tokenizer, prompt)
    start = rendered.rfind("<think>")
    is_open = start >= 0 and not rendered[start + len("<think>") :].strip()
    return rendered[start:] if is_open else ""
