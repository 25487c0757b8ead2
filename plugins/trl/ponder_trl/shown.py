"""What a reward model is shown of a prompt and a response: the same in training and in scoring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ponder import Example
from ponder.hf import prefilled_text, render_prompt
from ponder.text import THINK_CLOSE, THINK_OPEN, split_response, with_prefill
from ponder_trl.reward_configs import Sees

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def shown_part(example: Example, response: str, sees: Sees) -> str | None:
    """The part of a response that a model which `sees` this is shown; None when there is no such part.

    The summary is what follows the reasoning. A response without any think tag has no reasoning and is summary as a whole; one
    whose reasoning never ends has no summary.
    """
    # A response may have been kept without the opening tag that its prompt held.
    whole = with_prefill(example, response, is_prefilled=THINK_CLOSE in response).strip()
    if sees == "response":
        return whole or None
    summary = split_response(whole).answer
    if summary is None and THINK_OPEN not in whole and THINK_CLOSE not in whole:
        summary = whole
    return summary or None


def shown_tokens(tokenizer: PreTrainedTokenizerBase, example: Example, part: str) -> list[int]:
    """Token ids of the prompt, followed by this part of a response and the end-of-sequence token, at which the score is read.

    The prompt ends before a `<think>` of the chat template: the part brings its own, or is a summary.
    """
    prefilled = prefilled_text(tokenizer, example.prompt)
    text = render_prompt(tokenizer, example.prompt).removesuffix(prefilled) + part
    # Lone surrogates, which JSON can spell, are no text to a tokenizer.
    ids = tokenizer(text.encode("utf-8", "replace").decode(), add_special_tokens=False)["input_ids"]
    return [*ids, int(tokenizer.eos_token_id)]
