"""Reward `tag_count`."""

from __future__ import annotations

from collections.abc import Sequence

from ponder import Completion, Example
from ponder.text import is_visible, says_something, tag_pattern, with_prefill
from ponder_rewards.options import TagCountConfig


class TagCount:
    """A quarter for each tag that stands exactly once, in its place and around something: 0, 0.25, 0.5, 0.75 or 1.

    In its place: behind all tags before it that are there, the first with nothing before it, the last with nothing behind it, the
    third with nothing between it and the second. Around something: an opening tag is followed, a closing one preceded, by
    reasoning with a letter or digit, or by an answer that can be seen. A tag that is repeated earns nothing. Never abstains. Time is
    linear. Source: the reward of the same name in open-r1, whose count is satisfied by empty tags anywhere.
    """

    def __init__(self, config: TagCountConfig) -> None:
        self._tags = tuple(config.tags)
        self._prefilled = config.prefilled

    def __call__(self, example: Example, completion: Completion) -> float:
        response = with_prefill(example, completion.text, is_prefilled=self._prefilled, tag=self._tags[0])
        pieces = tag_pattern(self._tags).split(response)
        found = pieces[1::2]
        return sum(self._counts(number, tag, found, pieces) for number, tag in enumerate(self._tags)) / len(self._tags)

    def _counts(self, number: int, tag: str, found: Sequence[str], pieces: Sequence[str]) -> bool:
        if found.count(tag) != 1:
            return False
        place = found.index(tag)
        before, after = pieces[2 * place].strip(), pieces[2 * place + 2].strip()
        if not set(found[:place]) <= set(self._tags[:number]):
            return False
        says = says_something if number < 2 else is_visible
        return says(before if number % 2 else after) and self._is_alone(number, before, after, found[:place])

    def _is_alone(self, number: int, before: str, after: str, earlier: Sequence[str]) -> bool:
        """Whether nothing stands where nothing may."""
        if number == 0:
            return not before and not earlier
        if number == 2:
            return not before or self._tags[1] not in earlier
        return number != 3 or not after
