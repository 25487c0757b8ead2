"""What makes a response look as if it had been written for the reward and not for the reader."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from ponder.text import ANSWER_OPEN, THINK_OPEN, mixes_languages, question_language, split_response
from ponder.types import Rollout

LONGEST_READ: Final = 20_000
"""Characters of a response that are looked at."""
REPEATED: Final = 0.5
"""Share of the four-word sequences that occur more than once."""
FOREIGN: Final = 0.05
UNPRINTABLE: Final = 0.01
FEW_WORDS: Final = 3
"""Words of reasoning below which there is none."""
FAR: Final = 4.0
"""Times the median length from which a response is long, or its inverse from which it is short."""

_WORD = re.compile(r"\w+")
_NGRAM: Final = 4


def oddities(rollout: Rollout, lengths: Sequence[int]) -> list[str]:
    """Reasons in a few words; `lengths` are the characters of all responses that it is one of."""
    text = rollout.completion.text[:LONGEST_READ]
    found = [reason for reason, is_so in _SIGNS.items() if is_so(text)]
    if mixes_languages(text, tolerance=FOREIGN):
        found.append(f"other languages than the question's ({question_language(rollout.example)})")
    ordered = sorted(lengths)
    median = ordered[len(ordered) // 2]
    size = len(rollout.completion.text)
    if median and (size > FAR * median or size * FAR < median):
        found.append(f"{size:,} characters where {median:,} are usual")
    return found


def _repeats(text: str) -> bool:
    words = _WORD.findall(text.casefold())
    counts = Counter(zip(*(words[start:] for start in range(_NGRAM)), strict=False))
    total = counts.total()
    return total >= 2 * _NGRAM and sum(count for count in counts.values() if count > 1) > REPEATED * total


def _unprintable(text: str) -> bool:
    strange = sum(
        unicodedata.category(character) in ("Cc", "Cs", "Co", "Cn", "Cf")
        for character in text
        if character not in "\n\t\r"
    )
    return strange > UNPRINTABLE * len(text)


def _without_reasoning(text: str) -> bool:
    reasoning = split_response(text).reasoning
    return reasoning is not None and len(_WORD.findall(reasoning)) < FEW_WORDS


def _several_answers(text: str) -> bool:
    return text.count(ANSWER_OPEN) > 1 or text.count("\\boxed") > 2 or text.count(THINK_OPEN) > 1


_SIGNS: Final[dict[str, Callable[[str], bool]]] = {
    "repeats itself": _repeats,
    "characters that cannot be seen": _unprintable,
    "thinks nothing before it answers": _without_reasoning,
    "more tags or answers than one": _several_answers,
}
