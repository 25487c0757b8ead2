"""Reward `language_consistency`."""

from __future__ import annotations

from ponder import Completion, Example
from ponder.text import last_question, split_response
from ponder_rewards import LanguageConsistencyConfig
from ponder_rewards.languages import SCRIPTS, Code
from ponder_rewards.words import language_counts, share_of, warm_up


class LanguageConsistency:
    """The share of words that are in the wanted language, in [0, 1] (DeepSeek-R1, equation 7, on the reasoning).

    A response without think tags is reasoning as a whole, so that leaving them out is no way around the reward. Abstains
    when there are no words: numbers and formulas are in every language. The paper does not say what a word is, nor how its
    language is told; `ponder_rewards.words.language_counts` does.
    """

    def __init__(self, config: LanguageConsistencyConfig) -> None:
        self._language = config.language
        self._rivals = tuple(config.told_from)
        self._reads_all = config.of == "response"

    def warm_up(self) -> None:
        """Load the models of the languages in question before any sample is timed."""
        warm_up("en" if self._language == "question" else self._language, self._rivals)

    def __call__(self, example: Example, completion: Completion) -> float | None:
        reasoning = None if self._reads_all else split_response(completion.text).reasoning
        language = _asked_in(example, self._rivals) if self._language == "question" else self._language
        return share_of(completion.text if reasoning is None else reasoning, language, self._rivals)


def _asked_in(example: Example, rivals: tuple[Code, ...]) -> Code:
    """The language the task names as `metadata["language"]`, else that of most of the question's words, else English."""
    given = example.metadata.get("language")
    named: Code | None = next((code for code in SCRIPTS if code == given), None)
    if named:
        return named
    counts = language_counts(last_question(example.prompt), "en", rivals)
    return max((code for code in SCRIPTS if counts[code]), key=lambda code: counts[code], default="en")
