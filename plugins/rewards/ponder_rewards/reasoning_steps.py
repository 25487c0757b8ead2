"""Reward `reasoning_steps`."""

from __future__ import annotations

import re
from itertools import islice

from ponder import Completion, Example
from ponder.text import split_response
from ponder_rewards.options import ReasoningStepsConfig
from ponder_rewards.pieces import LONGEST, words_of

_MARK = re.compile(
    r"^[ \t]*(?:#{1,6}[ \t]*)?(?:\*\*)?(?:step|schritt|paso|étape)[ \t]+\d{1,3}(?!\w)[:.)]?"
    r"|^[ \t]*(?:\d{1,3}[.)、]|[-*•])(?=\s|$)"
    r"|(?:^[ \t]*|(?<=[.,!?:;]\s))(?:first(?:ly)?|second(?:ly)?|third(?:ly)?|next|then|after that|finally|lastly)[,:]"
    r"|第[一二三四五六七八九十\d]{1,3}步|首先|其次|接着|接下来|然后|最后",
    re.IGNORECASE | re.MULTILINE,
)


class ReasoningSteps:
    """The number of different steps that the reasoning marks, over the wanted number; in [0, 1].

    Marks are "Step 3", a number or a point at the beginning of a line, "First," "next:" and their like, and 第三步, 首先, 然后 and their
    like. A step is what stands between its mark and the next, or the end; it counts when it has words enough, and once however often
    its words are repeated, so that bare marks and copies earn nothing. A response without think tags is reasoning as
    a whole. Never abstains. Source: open-r1's reward of the same name, which counts marks alone.
    """

    def __init__(self, config: ReasoningStepsConfig) -> None:
        self._wanted = config.steps
        self._shortest = config.shortest

    def __call__(self, example: Example, completion: Completion) -> float:
        reasoning = split_response(completion.text).reasoning
        text = (completion.text if reasoning is None else reasoning)[:LONGEST]
        steps: set[tuple[str, ...]] = set()
        # What stands before the first mark is no step.
        for step in islice(_MARK.split(text), 1, None):
            words = tuple(word.casefold() for word in words_of(step) if not word.isdecimal())
            if len(words) >= self._shortest:
                steps.add(words)
            if len(steps) >= self._wanted:
                return 1.0
        return len(steps) / self._wanted
