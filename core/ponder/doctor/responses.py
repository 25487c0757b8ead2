"""Responses written by hand: right ones in every format that is common, and wrong ones, for rewards to tell apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ponder.text import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN, Language, last_question
from ponder.types import Completion, Example, Prompt

REASONING: Final[dict[Language, str]] = {
    "en": "Let me look at what is asked and work through it one step after the other.",
    "zh": "让我先看看问题是什么，然后一步一步地来想。",
}
_SUMMARY: Final[dict[Language, str]] = {"en": "The answer is {answer}.", "zh": "答案是 {answer}。"}
_NONSENSE: Final = "purple seven because the the the"
_CHARACTERS_A_TOKEN: Final = 4
QUESTION_AGAIN: Final = ("the question again", "the question again in answer tags")
"""How responses are written that say what was asked, and nothing else."""


@dataclass(frozen=True, slots=True)
class Written:
    """A response that no model wrote."""

    style: str
    """How it is written, for the reader of a finding."""
    completion: Completion
    is_right: bool
    frame: str | None = None
    """What a policy has to say at least to answer in this style: tags and answer, without reasoning; None where that is not known."""


def written_responses(example: Example, prefilled: str) -> list[Written]:
    """Right and wrong responses to an example, each behind what the chat template puts into the assistant's mouth."""
    own = example.metadata.get("response")
    shown = [_written("the example's own response", own)] if isinstance(own, str) and own.strip() else []
    right = [] if example.answer is None else _right(example.answer, prefilled)
    return [*right, *shown, *_wrong(example.prompt, prefilled)]


def _right(answer: str, prefilled: str) -> Iterator[Written]:
    opened = _thought("", prefilled).removeprefix(prefilled)
    tags, boxed = f"{ANSWER_OPEN}{answer}{ANSWER_CLOSE}", f"\\boxed{{{answer}}}"
    for language, reasoning in REASONING.items():
        summary = _SUMMARY[language]
        thought = _thought(reasoning, prefilled)
        spaced = _thought(f"\n{reasoning}\n", prefilled)
        yield _written(f"answer tags, {language}", f"{thought} {tags}", f"{opened}{tags}")
        yield _written(
            f"answer tags on lines of their own, {language}",
            f"{spaced}\n{ANSWER_OPEN}\n{answer}\n{ANSWER_CLOSE}",
            f"{opened}{tags}",
        )
        yield _written(f"summary, {language}", f"{spaced}\n\n{summary.replace('{answer}', answer)}", opened + answer)
        yield _written(
            f"boxed summary, {language}", f"{spaced}\n\n{summary.replace('{answer}', boxed)}", opened + boxed
        )
    yield _written("the bare answer", prefilled + answer, answer)
    yield _written("the bare answer in a box", prefilled + boxed, boxed)


def _wrong(prompt: Prompt, prefilled: str) -> Iterator[Written]:
    thought = _thought(REASONING["en"], prefilled)
    question = last_question(prompt)
    bare, tagged = QUESTION_AGAIN
    yield _written(bare, f"{prefilled}{question}", is_right=False)
    yield _written(tagged, f"{thought} {ANSWER_OPEN}{question}{ANSWER_CLOSE}", is_right=False)
    yield _written("nonsense", f"{prefilled}{_NONSENSE}", is_right=False)
    yield _written("nothing", prefilled, is_right=False)
    yield _written("a wrong answer", f"{thought} {ANSWER_OPEN}{_NONSENSE}{ANSWER_CLOSE}", is_right=False)
    yield _written("a wrong summary", f"{thought}\n\n{_NONSENSE}", is_right=False)


def _thought(reasoning: str, prefilled: str) -> str:
    opened = prefilled if THINK_OPEN in prefilled else prefilled + THINK_OPEN
    return f"{opened}{reasoning}{THINK_CLOSE}"


def long_completion(tokens: int) -> Completion:
    """A completion of so many tokens that says the same again and again, cut off by its length limit."""
    text = f"{REASONING['en']} "
    length = tokens * _CHARACTERS_A_TOKEN
    return Completion((text * (length // len(text) + 1))[:length], tuple(range(tokens)), finish_reason="length")


def _written(style: str, text: str, frame: str | None = None, *, is_right: bool = True) -> Written:
    return Written(
        style, Completion(text, token_ids=tuple(range(max(1, len(text) // _CHARACTERS_A_TOKEN)))), is_right, frame
    )
