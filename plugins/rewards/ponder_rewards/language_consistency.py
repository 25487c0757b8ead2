"""Reward `language_consistency`."""

from __future__ import annotations

from ponder import Completion, Example
from ponder.text import language_share, resolve_language, split_response
from ponder_rewards import LanguageConsistencyConfig


class LanguageConsistency:
    """The share of words that are in the wanted language, in [0, 1] (DeepSeek-R1, equation 7, on the reasoning).

    A response without think tags is reasoning as a whole, so that leaving them out is no way around the reward. Abstains
    when there are no words: numbers and formulas are in every language. The paper does not say what a word is;
    `ponder.text.language_share` does.
    """

    def __init__(self, config: LanguageConsistencyConfig) -> None:
        self._language = config.language
        self._reads_all = config.of == "response"

    def __call__(self, example: Example, completion: Completion) -> float | None:
        reasoning = None if self._reads_all else split_response(completion.text).reasoning
        language = resolve_language(self._language, example)
        return language_share(completion.text if reasoning is None else reasoning, language)
