"""Reward `instruction`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeGuard

from ponder import Completion, Example
from ponder.text import THINK_CLOSE, THINK_OPEN, is_visible, split_response
from ponder_rewards.options import InstructionConfig
from ponder_rewards.pieces import LONGEST
from ponder_rewards.wishes import CHECKS, Arguments, MalformedWishError
from ponder_rewards.words import warm_up


class Instruction:
    """The share of an example's wishes that the response grants, in [0, 1]; with `score: all` 1 when it grants every one, else 0.

    The wishes are those of IFEval (Zhou et al. 2023, Instruction-Following Evaluation for Large Language Models), under the same
    names and with the same arguments; `ponder_rewards.wishes.CHECKS` lists them, and says what each one means here. An example
    holds them in its metadata as IFEval's own rows do, in the columns `instruction_id_list` and `kwargs`, or as `instructions`: a
    list of objects with an `id` and the arguments beside it. Reasoning is left out of what is read, and so is whitespace around it; a
    response that has no summary, or nothing to see in it, or more than 300,000 characters, grants none. Abstains when the example has
    no wishes, or one that is not known or has wrong arguments.
    """

    def __init__(self, config: InstructionConfig) -> None:
        self._needs_all = config.score == "all"
        self._reads_all = config.of == "response"

    def warm_up(self) -> None:
        """Load what tells languages apart before any sample is timed."""
        warm_up("en")

    def __call__(self, example: Example, completion: Completion) -> float | None:
        wishes = _wishes(example.metadata)
        if not wishes:
            return None
        text = completion.text.strip() if self._reads_all else _summary(completion.text)
        try:
            granted = [CHECKS[name](text[:LONGEST], arguments) for name, arguments in wishes]
        except (KeyError, MalformedWishError):
            return None
        if not is_visible(text) or len(text) > LONGEST:
            return 0.0
        return float(all(granted)) if self._needs_all else sum(granted) / len(granted)


def _summary(text: str) -> str:
    found = split_response(text).answer
    if found is None and THINK_OPEN not in text and THINK_CLOSE not in text:
        found = text
    return (found or "").strip()


def _wishes(metadata: Mapping[str, object]) -> list[tuple[str, Arguments]]:
    """The name and the arguments of each wish; those that cannot be read have a name that nothing has."""
    own = metadata.get("instructions")
    if _is_list(own):
        return [(str(wish.get("id")), wish) if isinstance(wish, Mapping) else ("", {}) for wish in own]
    names, arguments = metadata.get("instruction_id_list"), metadata.get("kwargs")
    if not _is_list(names):
        return []
    padded: list[object] = [*(arguments if _is_list(arguments) else []), *[{}] * len(names)]
    return [(str(name), wish if isinstance(wish, Mapping) else {}) for name, wish in zip(names, padded, strict=False)]


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str)
