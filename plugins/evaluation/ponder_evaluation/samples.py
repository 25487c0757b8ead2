"""One row per sampled answer: what was asked, what came, and what it is worth."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from ponder import Completion, Example, Rollout
from ponder.rollouts import jsonable
from ponder.rubric import Score
from ponder.text import (
    FormatStyle,
    Language,
    LanguageChoice,
    extract_answer,
    is_well_formed,
    language_share,
    mixes_languages,
    question_language,
    readable_prompt,
    reflective_words,
    resolve_language,
    with_prefill,
)

LONGEST_VOTE: Final = 200
LONGEST_GROUP: Final = 40
MOST_FOREIGN: Final = 0.05
"""The largest share of words outside the question's language in a response that counts as readable: a name, a term."""
KEY_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class Yardstick:
    """How responses are measured, the same for all samples of an evaluation."""

    correct_at: float = 1.0
    """The score from which on a response is correct."""
    format: FormatStyle = "r1_zero"
    language: LanguageChoice = "en"
    groups: Sequence[str] = ("difficulty",)
    """Keys of the examples' metadata that tell samples apart."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A completion of one problem, scored and measured."""

    problem: int
    """The problem's place in the task."""
    key: str
    """The same for the same question and answer in every evaluation."""
    sample: int
    """Its place among the samples of the problem."""
    difficulty: str | None
    groups: Mapping[str, str]
    """What the task tells of the problem by which samples are told apart."""
    asked_in: Language
    """The language of the question."""
    prompt: str
    answer: str | None
    completion: str
    correct: bool
    scored: bool
    """Whether the reward that decides gave a score; without one the sample counts as wrong."""
    scores: Mapping[str, float | None]
    reward: float | None
    """The weighted sum of the rewards; None when all abstained."""
    length: int
    """Generated tokens."""
    truncated: bool
    formatted: bool
    language: float | None
    """Share of the words in the language asked for; None when there are no words."""
    mixed: bool
    """Whether its words are in more than one language."""
    readable: bool
    """Whether a reader of the question can read it: well-formed, whole, and in the question's language."""
    reflections: int
    """Reflective words."""
    vote: str | None
    """The answer as it counts in a majority vote; None when there is none."""
    metadata: object = None
    """What the task knows of the problem, as plain data: what `ponder score` gives to rewards."""


def make_sample(rollout: Rollout, score: Score, judge: str, yardstick: Yardstick, number: int = 0) -> Sample:
    """Measure sample `number` of a problem; `judge` names the reward that decides what is correct."""
    example, completion = rollout.example, rollout.completion
    text, verdict = completion.text, score.parts.get(judge)
    is_formatted = is_well_formed(with_prefill(example, text), yardstick.format)
    is_truncated = completion.finish_reason == "length"
    return Sample(
        problem=rollout.group,
        key=key_of(example),
        sample=number,
        difficulty=group_of(example, "difficulty"),
        groups={name: value for name in yardstick.groups if (value := group_of(example, name)) is not None},
        asked_in=question_language(example),
        prompt=readable_prompt(example.prompt),
        answer=example.answer,
        completion=text,
        correct=verdict is not None and verdict >= yardstick.correct_at,
        scored=verdict is not None,
        scores=dict(score.parts),
        reward=score.total,
        length=completion.length,
        truncated=is_truncated,
        formatted=is_formatted,
        language=language_share(text, resolve_language(yardstick.language, example)),
        mixed=mixes_languages(text),
        readable=is_formatted and not is_truncated and _is_in_the_questions_language(text, example),
        reflections=reflective_words(text),
        vote=_vote(completion),
        metadata=jsonable(example.metadata),
    )


def key_of(example: Example) -> str:
    """A digest of the question and its reference answer, by which evaluations know the same problem."""
    content = f"{readable_prompt(example.prompt)}\x1f{example.answer}"
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:KEY_DIGITS]


def group_of(example: Example, name: str) -> str | None:
    """What the example's metadata says under a name, when it is a word or a number."""
    value = example.metadata.get(name)
    is_usable = isinstance(value, str | int | float) and not isinstance(value, bool)
    return str(value)[:LONGEST_GROUP] if is_usable else None


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """JSON Lines, a row per sample."""
    with path.open("w", encoding="utf-8") as file:
        # ASCII, because a completion may hold lone surrogates, which UTF-8 cannot.
        file.writelines(json.dumps(asdict(sample)) + "\n" for sample in samples)


def _is_in_the_questions_language(text: str, example: Example) -> bool:
    share = language_share(text, question_language(example))
    return share is None or share >= 1 - MOST_FOREIGN


def _vote(completion: Completion) -> str | None:
    return " ".join(extract_answer(completion.text).split())[:LONGEST_VOTE] or None
