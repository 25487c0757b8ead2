"""What a step's completions look like: length, endings, languages, second thoughts, certainty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from ponder.rubric import Score
from ponder.scopes import TASK_KEY
from ponder.text import (
    LanguageChoice,
    extract_answer,
    language_share,
    mixes_languages,
    reflective_words,
    resolve_language,
)
from ponder.types import Rollout


def measure(rollouts: Sequence[Rollout], language: LanguageChoice) -> dict[str, float]:
    """Means over completions; a measure is left out when no completion has it.

    `response_length` counts tokens; `language_consistency` and `chinese_share` are shares of words; `mixed_languages`,
    `truncated` and `empty` are shares of completions; `reflection_rate` counts reflective words per completion; `entropy` is
    the mean of -log p over tokens, in nats, a one-sample estimate.
    """
    completions = [rollout.completion for rollout in rollouts]
    texts = [completion.text for completion in completions]
    measures = {
        "response_length": _mean(len(completion.token_ids) for completion in completions),
        "truncated": _mean(completion.finish_reason == "length" for completion in completions),
        "empty": _mean(not completion.text.strip() for completion in completions),
        "language_consistency": _mean(
            share
            for rollout in rollouts
            if (share := language_share(rollout.completion.text, resolve_language(language, rollout.example)))
            is not None
        ),
        "chinese_share": _mean_of(texts, lambda text: language_share(text, "zh")),
        "mixed_languages": _mean_of(texts, mixes_languages),
        "reflection_rate": _mean_of(texts, reflective_words),
        "entropy": _mean(-value for completion in completions for value in completion.logprobs),
    }
    return {name: value for name, value in measures.items() if value is not None}


def correctness(rollouts: Sequence[Rollout], scores: Sequence[Score], reward: str, group_size: int) -> dict[str, float]:
    """`pass@1`, the share of correct completions, and `cons@G`, how often the majority of a group of G is correct.

    What is correct says the `reward`, if it gave nothing but 0 and 1; else, or when it abstained throughout, there is
    nothing to measure. What it abstained from does not count.
    """
    verdicts = [score.parts.get(reward) for score in scores]
    if not set(verdicts) <= {0.0, 1.0, None} or set(verdicts) <= {None}:
        return {}
    votes: dict[int, list[str | None]] = {}
    for rollout, verdict in zip(rollouts, verdicts, strict=True):
        if verdict is not None:
            # All correct answers are one answer, however they are written; None stands for it.
            vote = None if verdict == 1.0 else extract_answer(rollout.completion.text)
            votes.setdefault(rollout.group, []).append(vote)
    share = _mean(verdict for verdict in verdicts if verdict is not None)
    majority = _mean(_chance_of_correct(group) for group in votes.values())
    return {"pass@1": share or 0.0, f"cons@{group_size}": majority or 0.0}


def per_task(rollouts: Sequence[Rollout], scores: Sequence[Score]) -> dict[str, float]:
    """`reward/<part>`: the mean score of each part of a mixture that was asked about."""
    totals: dict[str, list[float]] = {}
    for rollout, score in zip(rollouts, scores, strict=True):
        if score.total is not None and TASK_KEY in rollout.example.metadata:
            totals.setdefault(str(rollout.example.metadata[TASK_KEY]), []).append(score.total)
    return {f"reward/{name}": sum(values) / len(values) for name, values in sorted(totals.items())}


def _chance_of_correct(votes: Sequence[str | None]) -> float:
    """That the most frequent answer is the correct one, ties broken at random. An empty answer is no vote."""
    counts = Counter(vote for vote in votes if vote != "")
    most = max(counts.values(), default=0)
    winners = [vote for vote, count in counts.items() if count == most]
    return (None in winners) / len(winners) if winners else 0.0


def _mean_of(texts: Sequence[str], function: Callable[[str], float | None]) -> float | None:
    return _mean(value for text in texts if (value := function(text)) is not None)


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return sum(known) / len(known) if known else None
