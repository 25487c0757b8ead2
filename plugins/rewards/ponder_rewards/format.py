"""Reward `format`."""

from __future__ import annotations

from ponder import Completion, Example
from ponder.text import is_well_formed, with_prefill
from ponder_rewards import FormatConfig


class Format:
    """1.0 when the whole response is well formed in the wanted style, each of its tags once and in order, else 0.0.

    Whitespace may stand around the two parts; both must say something: the reasoning a letter or digit, the answer what can be
    seen. Never abstains. Time is linear. Source: DeepSeek-R1, section 2.2.2 (the format reward of R1-Zero) and its prompt
    template, and section 2.3.1 for R1's own format; the value 1 is ours, the paper gives none.
    """

    def __init__(self, config: FormatConfig) -> None:
        self._style = config.style
        self._prefilled = config.prefilled
        self._tags = tuple(config.tags)

    def __call__(self, example: Example, completion: Completion) -> float:
        response = with_prefill(example, completion.text, is_prefilled=self._prefilled, tag=self._tags[0])
        return float(is_well_formed(response, self._style, self._tags))
