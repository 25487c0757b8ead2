"""One row per sampled answer: what was asked, what came, and what it is worth."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from ponder import Completion, Example, Rollout
from ponder.rubric import Score
from ponder.text import (
    ANSWER_CLOSE,
    ANSWER_OPEN,
    THINK_CLOSE,
    THINK_OPEN,
    Language,
    extract_answer,
    language_share,
    mixes_languages,
    reflective_words,
)
from ponder.types import Prompt

LONGEST_VOTE: Final = 200

_TAGS = (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)
_R1_FORMAT = re.compile(r"\s*<think>(?P<reasoning>.*)</think>\s*<answer>(?P<answer>.*)</answer>\s*", re.DOTALL)


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
        prompt=readable(example.prompt),
        answer=example.answer,
        completion=completion.text,
        correct=verdict is not None and verdict >= correct_at,
        scored=verdict is not None,
        scores=dict(score.parts),
        length=len(completion.token_ids),
        truncated=completion.finish_reason == "length",
        formatted=is_formatted(example, completion),
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


def is_formatted(example: Example, completion: Completion) -> bool:
    """Whether the response is reasoning in think tags, then an answer in answer tags, each tag once, and nothing else.

    A `<think>` at the end of a plain prompt counts as the response's own.
    """
    text = completion.text
    prompt_opens = isinstance(example.prompt, str) and example.prompt.rstrip().endswith(THINK_OPEN)
    if prompt_opens and not text.lstrip().startswith(THINK_OPEN):
        text = THINK_OPEN + text
    parts = _R1_FORMAT.fullmatch(text) if all(text.count(tag) == 1 for tag in _TAGS) else None
    return parts is not None and all(part.strip() for part in parts.groups())


def readable(prompt: Prompt) -> str:
    """A prompt as text: a lone user message is its content, a conversation has a line per turn."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return prompt[0]["content"]
    return "\n".join(f"{message['role']}: {message['content']}" for message in prompt)


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """JSON Lines, a row per sample."""
    with path.open("w", encoding="utf-8") as file:
        # ASCII, because a completion may hold lone surrogates, which UTF-8 cannot.
        file.writelines(json.dumps(asdict(sample)) + "\n" for sample in samples)


def _vote(completion: Completion) -> str | None:
    return " ".join(extract_answer(completion.text).split())[:LONGEST_VOTE] or None
