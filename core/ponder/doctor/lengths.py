"""Whether what rewards ask for can be said within the length limit."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any, Final

from ponder.doctor.findings import Check, Finding
from ponder.doctor.patient import Patient
from ponder.doctor.rewards import Marked, marking_of, scores_rollouts
from ponder.suggestions import shown


def _draws_within(patient: Patient) -> Hashable | None:
    scored, limit = scores_rollouts(patient), patient.longest_completion()
    return None if scored is None or limit is None else (scored, limit)


def examine_lengths(patient: Patient) -> Iterator[Finding]:
    """Count the tokens of tags and answer, without any reasoning, of the shortest response that gets full marks."""
    if not patient.rewards():
        return
    limit, tokenizer = patient.longest_completion() or 0, patient.tokenizer()
    marked = [mark for mark in marking_of(patient).marked if _frames(mark)]
    needed = {mark.place: _shortest(mark, tokenizer) for mark in marked}
    over = [mark for mark in marked if needed[mark.place] > limit]
    if over:
        first = over[0]
        yield Finding(
            "problem" if len(over) == len(marked) else "warning",
            f"in {len(over)} of {len(marked)} examples no response that gets full marks fits into max_new_tokens ({limit}): its tags "
            f"and the answer, without a word of reasoning, take {needed[first.place]} tokens (example {first.place}, answer "
            f"{shown(first.example.answer)})",
            "raise the sampler's max_new_tokens well above that, or ask for less in the rewards",
        )


def _shortest(mark: Marked, tokenizer: Any) -> int:
    return min(len(tokenizer(frame, add_special_tokens=False)["input_ids"]) for frame in _frames(mark))


def _frames(mark: Marked) -> list[str]:
    return [written.frame for written in mark.perfect() if written.frame is not None]


LENGTH_CHECKS: Final = (
    Check("length", "Does a response with full marks fit into the length limit?", _draws_within, examine_lengths),
)
