"""Reward `format`."""

from __future__ import annotations

import re

from ponder import Completion, Example
from ponder.text import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN
from ponder_rewards import FormatConfig

_TAG = re.compile(r"(</?think>|</?answer>)")


class Format:
    """1.0 when the whole response is `<think>…</think> <answer>…</answer>`, each tag once and in this order, else 0.0.

    Whitespace may stand around the two parts; both must say something. Never abstains. Source: DeepSeek-R1, section 2.2.2
    (the format reward of R1-Zero) and its prompt template; the value 1 is ours, the paper gives none.
    """

    def __init__(self, config: FormatConfig) -> None:
        self._prefilled = config.prefilled

    def __call__(self, example: Example, completion: Completion) -> float:
        text = completion.text.lstrip()
        if not text.startswith(THINK_OPEN) and (self._prefilled or _prompt_opens(example)):
            text = THINK_OPEN + text
        return float(is_well_formed(text))


def is_well_formed(text: str) -> bool:
    """Whether the text is a reasoning and an answer in their tags and nothing else."""
    # At most five splits: what a longer row of tags looks like does not matter, and hostile text costs no more than this.
    pieces = _TAG.split(text, maxsplit=5)
    if pieces[1::2] != [THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE]:
        return False
    before, reasoning, between, answer, after = (piece.strip() for piece in pieces[::2])
    return bool(reasoning and answer) and not (before or between or after)


def _prompt_opens(example: Example) -> bool:
    prompt = example.prompt
    if isinstance(prompt, str):
        return prompt.rstrip().endswith(THINK_OPEN)
    return bool(prompt) and prompt[-1]["role"] == "assistant" and prompt[-1]["content"].rstrip().endswith(THINK_OPEN)
