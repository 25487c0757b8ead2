"""One row per sampled answer: what was asked, what came, and what it is worth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from ponder import Completion, Example, Rollout
from ponder.rubric import Score
from ponder.text import (
    Language,
    extract_answer,
    is_well_formed,
    language_share,
    mixes_languages,
    readable_prompt,
    reflective_words,
    with_prefill,
)

LONGEST_VOTE: Final = 200


@dataclass(frozen=True, slots=True)
class Sample:
    """A completion of one problem, scored and measured."""

    problem: int
    """The problem's place in the task."""
    difficulty: str | None
    prompt: str
    answer: str | None
    completion: str
    correct: bool
    scored: bool
    """Whether the reward that decides gave a score; without one the sample counts as wrong."""
    scores: Mapping[str, float | None]
    length: int
    """Generated tokens."""
    truncated: bool
    formatted: bool
    language: float | None
    """Share of the words in the language asked for; None when there are no words."""
    mixed: bool
    """Whether its words are in more than one language."""
    reflections: int
    """Reflective words."""
    vote: str | None
    """The answer as it counts in a majority vote; None when there is none."""


def make_sample(rollout: Rollout, score: Score, judge: str, correct_at: float, language: Language) -> Sample:
    """Measure a scored rollout; `judge` names the reward that decides what is correct."""
    example, completion = rollout.example, rollout.completion
    verdict = score.parts.get(judge)
    return Sample(
        problem=rollout.group,
        difficulty=difficulty_of(example),
        prompt=readable_prompt(example.prompt),
        answer=example.answer,
        completion=completion.text,
        correct=verdict is not None and verdict >= correct_at,
        scored=verdict is not None,
        scores=dict(score.parts),
        length=len(completion.token_ids),
        truncated=completion.finish_reason == "length",
        formatted=is_well_formed(with_prefill(example, completion.text)),
        language=language_share(completion.text, language),
        mixed=mixes_languages(completion.text),
        reflections=reflective_words(completion.text),
        vote=_vote(completion),
    )


def difficulty_of(example: Example) -> str | None:
    """The difficulty that the task gives in the example's metadata, when it is a word or a number."""
    value = example.metadata.get("difficulty")
    is_usable = isinstance(value, str | int | float) and not isinstance(value, bool)
    return str(value) if is_usable else None


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """JSON Lines, a row per sample."""
    with path.open("w", encoding="utf-8") as file:
        # ASCII, because a completion may hold lone surrogates, which UTF-8 cannot.
        file.writelines(json.dumps(asdict(sample)) + "\n" for sample in samples)


def _vote(completion: Completion) -> str | None:
    return " ".join(extract_answer(completion.text).split())[:LONGEST_VOTE] or None
