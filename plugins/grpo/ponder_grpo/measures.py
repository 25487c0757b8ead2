"""What a step's completions look like: length, endings, languages, second thoughts, certainty."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ponder.text import Language, language_share, mixes_languages, reflective_words
from ponder.types import Completion


def measure(completions: Sequence[Completion], language: Language) -> dict[str, float]:
    """Means over completions; a measure is left out when no completion has it.

    `response_length` counts tokens; `language_consistency` and `chinese_share` are shares of words; `mixed_languages`,
    `truncated` and `empty` are shares of completions; `reflection_rate` counts reflective words per completion; `entropy` is
    the mean of -log p over tokens, in nats, a one-sample estimate.
    """
    texts = [completion.text for completion in completions]
    measures = {
        "response_length": _mean(len(completion.token_ids) for completion in completions),
        "truncated": _mean(completion.finish_reason == "length" for completion in completions),
        "empty": _mean(not completion.text.strip() for completion in completions),
        "language_consistency": _mean_of(texts, lambda text: language_share(text, language)),
        "chinese_share": _mean_of(texts, lambda text: language_share(text, "zh")),
        "mixed_languages": _mean_of(texts, mixes_languages),
        "reflection_rate": _mean_of(texts, reflective_words),
        "entropy": _mean(-value for completion in completions for value in completion.logprobs),
    }
    return {name: value for name, value in measures.items() if value is not None}


def _mean_of(texts: Sequence[str], function: Callable[[str], float | None]) -> float | None:
    return _mean(value for text in texts if (value := function(text)) is not None)


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return sum(known) / len(known) if known else None
