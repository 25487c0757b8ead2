"""Checks of rewards on responses written by hand: full marks for a right answer, none for nonsense, in any order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ponder.doctor.findings import Check, Finding
from ponder.doctor.patient import Patient
from ponder.doctor.responses import QUESTION_AGAIN, Written, long_completion, written_responses
from ponder.errors import InputError
from ponder.prompts import prefilled_text
from ponder.rubric import NamedReward, Rubric, Score
from ponder.scopes import TASK_KEY
from ponder.suggestions import shown
from ponder.text import readable_prompt
from ponder.types import Example, Rollout

EXAMPLES: Final = 16
"""Examples that responses are written for, spread over those that are read."""
FULL_MARKS: Final = 1.0
CLOSE: Final = 1e-9
SHOWN: Final = 3
ENDLESS: Final = 1 << 17
"""Tokens of a response that is longer than what anybody draws."""
TRIED: Final = 2
"""Time-outs that tell a reward which hangs, and responses that are scored at once until it is known not to."""


@dataclass(frozen=True, slots=True)
class Marked:
    """An example with what each reward gave to each response written for it."""

    example: Example
    place: int
    responses: Sequence[Written]
    scores: Sequence[Score]

    def best(self, reward: str, *, is_right: bool = True) -> float | None:
        """The highest score of a reward on a right response, or on a wrong one; None when it abstained on all."""
        parts = [score.parts[reward] for score, written in self._pairs() if written.is_right == is_right]
        return max((part for part in parts if part is not None), default=None)

    def prefers_right(self, reward: str) -> bool:
        """Whether some right response gets more than every wrong one."""
        right, wrong = self.best(reward), self.best(reward, is_right=False)
        return right is not None and (wrong is None or right > wrong + CLOSE)

    def favourite(self) -> tuple[Written, Score] | None:
        """The right response with the highest total."""
        right = [(written, score) for score, written in self._pairs() if written.is_right and score.total is not None]
        return max(right, key=lambda pair: pair[1].total or 0.0, default=None)

    def perfect(self) -> list[Written]:
        """The right responses with full marks from every reward that gives them to any; none where no reward does."""
        reached = [reward for reward in self.scores[0].parts if _is_full(self.best(reward))] if self.scores else []
        return [
            written
            for score, written in self._pairs()
            if reached and written.is_right and all(_is_full(score.parts[reward]) for reward in reached)
        ]

    def given(self, reward: str) -> list[float | None]:
        """A reward's scores of all responses."""
        return [score.parts[reward] for score in self.scores]

    def _pairs(self) -> list[tuple[Score, Written]]:
        return list(zip(self.scores, self.responses, strict=True))


@dataclass(frozen=True, slots=True)
class Marking:
    """What rewards gave to the responses to a task's examples, in two orders."""

    rewards: Sequence[NamedReward]
    marked: Sequence[Marked]
    forwards: Sequence[Score]
    backwards: Sequence[Score]
    """Scored from the last to the first, and put back into the order of the others."""


def scores_rollouts(patient: Patient) -> Hashable | None:
    """What the marks of a stage's rewards depend on, or None where it draws nothing that is scored."""
    if not patient.has("rewards", "task", "policy"):
        return None
    return (patient.rewards(), patient.missing_rewards(), patient.names("task", "task"), patient.starting_point)


def examine_marks(patient: Patient) -> Iterator[Finding]:
    """Whether right answers get full marks, all rewards can be had at once, and each tells right from wrong."""
    yield from _not_made(patient)
    names = patient.rewards()
    if not names:
        return
    marking = marking_of(patient)
    for reward in marking.rewards:
        needs_answer = getattr(reward.config, "needs_answer", False)
        yield from _rejected(marking.marked, reward.name, needs_answer=needs_answer)
        if needs_answer:
            yield from _taken_for_an_answer(marking.marked, reward.name)
        yield from _without_spread(patient, marking.marked, reward.name, needs_answer=needs_answer)
    yield from _contradicting(marking.marked, names)


def examine_order(patient: Patient) -> Iterator[Finding]:
    """Whether the same responses get the same scores when they are scored again the other way round."""
    names = patient.rewards()
    if not names:
        return
    marking = marking_of(patient)
    forwards, backwards = marking.forwards, marking.backwards
    for name in names:
        changed = [
            place
            for place, (one, other) in enumerate(zip(forwards, backwards, strict=True))
            if one.parts[name] != other.parts[name]
        ]
        if changed:
            one, other = forwards[changed[0]].parts[name], backwards[changed[0]].parts[name]
            yield Finding(
                "problem",
                f"reward {name!r} gives other scores when it is called in another order: {len(changed)} of {len(forwards)} "
                f"differ, the first {one} and then {other}. Its scores would depend on which worker came to what when, and a "
                "resumed run would not be the run that was interrupted",
                "keep nothing between calls; what must be counted over many completions is a BatchReward",
            )


def _not_made(patient: Patient) -> Iterator[Finding]:
    missing = patient.missing_rewards()
    if missing:
        yield Finding("not yet", f"the rewards {', '.join(missing)} need what stages have still to make")


def marking_of(patient: Patient) -> Marking:
    """What a stage's rewards give; scored once for all questions: starting the workers takes longer than the scores."""
    return patient.clinic.once("marking", repr(scores_rollouts(patient)), lambda: _mark(patient))


def _mark(patient: Patient) -> Marking:
    found = _rollouts(patient)
    rollouts = [rollout for _, _, group in found for rollout in group]
    rubric = tried_rubric(patient)
    forwards = rubric.score(rollouts)
    backwards = rubric.score(rollouts[::-1])[::-1]
    scores = iter(forwards)
    marked = [
        Marked(group[0].example, place, responses, [next(scores) for _ in group]) for place, responses, group in found
    ]
    return Marking(rubric.rewards, marked, forwards, backwards)


def tried_rubric(patient: Patient) -> Rubric:
    """The stage's rewards, none of which hangs; tried once for all stages that have the same.

    Raises:
        PonderError: a reward hit its time limit twice on the responses to one example. Those to all would take an hour.
    """
    return patient.clinic.once("tried rubric", repr(patient.rewards()), lambda: _tried(patient))


def _tried(patient: Patient) -> Rubric:
    rubric, late = patient.rubric(), Counter[str]()
    rollouts = [rollout for _, _, group in _rollouts(patient)[:1] for rollout in group]
    for start in range(0, len(rollouts), TRIED):
        for score in rubric.score(rollouts[start : start + TRIED]):
            late.update(name for name, status in score.statuses.items() if status == "timeout")
        for name, count in late.items():
            if count >= TRIED:
                raise InputError(
                    f"reward {name!r} hit its time limit on {count} of the first {min(start + TRIED, len(rollouts))} responses "
                    "that were written for it: look for what it waits for, or for a pattern that takes forever on some texts"
                )
    return rubric


def _rollouts(patient: Patient) -> list[tuple[int, list[Written], list[Rollout]]]:
    examples, tokenizer = patient.examples(), patient.tokenizer()
    found = []
    for group, place in enumerate(_spread_places(examples)):
        example = examples[place]
        responses = written_responses(example, prefilled_text(tokenizer, example.prompt))
        found.append((place, responses, [Rollout(example, written.completion, group) for written in responses]))
    return found


def _spread_places(examples: Sequence[Example]) -> list[int]:
    """Where the examples to write responses for stand: as many of each part of a mixture, which may come in turn."""
    parts: dict[str, list[int]] = {}
    for place, example in enumerate(examples):
        parts.setdefault(str(example.metadata.get(TASK_KEY)), []).append(place)
    each = max(1, EXAMPLES // max(1, len(parts)))
    chosen = [place for places in parts.values() for place in places[:: max(1, len(places) // each)][:each]]
    return sorted(chosen[:EXAMPLES])


def _rejected(marked: Sequence[Marked], reward: str, *, needs_answer: bool) -> Iterator[Finding]:
    """A reward that compares with the answer and gives it less than full marks in every format.

    One that gives full marks to nothing, such as a length penalty for right answers, has to give them more than wrong ones.
    """
    asked = [mark for mark in marked if mark.example.answer is not None]
    best = {mark.place: mark.best(reward) for mark in asked}
    silent = [place for place, score in best.items() if score is None]
    if needs_answer and asked and len(silent) == len(asked):
        yield Finding(
            "problem",
            f"reward {reward!r} abstains on every right answer to {len(asked)} examples: nothing would ever be learnt from it",
            "look at what the reward can read, and at the task's answers",
        )
        return
    known = {place: score for place, score in best.items() if score is not None}
    reaches = any(score >= FULL_MARKS - CLOSE for score in known.values())
    low = [
        mark
        for mark in asked
        if mark.place in known
        and known[mark.place] < FULL_MARKS - CLOSE
        and (reaches or not mark.prefers_right(reward))
    ]
    if low and (needs_answer or reaches):
        golds = ", ".join(f"example {mark.place}: {shown(mark.example.answer)}" for mark in low[:SHOWN])
        what = "rejects the reference answer of" if needs_answer else "gives no right response full marks in"
        yield Finding(
            "problem",
            f"reward {reward!r} {what} {len(low)} of {len(asked)} examples, in whatever usual format it is given ({golds}): a "
            "policy that is right would be taught that it is wrong",
            "mend the answers of the task, or give the reward what it needs to read them",
        )
    if silent and needs_answer:
        yield Finding(
            "warning",
            f"reward {reward!r} abstains on {len(silent)} of {len(asked)} examples whose answers it cannot read "
            f"(the first is example {silent[0]})",
            "mend these answers, or leave the examples out",
        )


def _taken_for_an_answer(marked: Sequence[Marked], reward: str) -> Iterator[Finding]:
    """A reward that takes the question for its answer, as it reads `3 + 4` for 7: the first thing that a policy would learn."""
    fooled = [
        mark
        for mark in marked
        for written, part in zip(mark.responses, mark.given(reward), strict=True)
        if written.style in QUESTION_AGAIN and part is not None and part >= FULL_MARKS - CLOSE
    ]
    places = sorted({mark.place for mark in fooled})
    if places:
        yield Finding(
            "problem" if len(places) > len(marked) / 2 else "warning",
            f"reward {reward!r} gives full marks to a response that only repeats the question, in {len(places)} of {len(marked)} "
            f"examples (the first is example {places[0]}, {shown(readable_prompt(fooled[0].example.prompt))}): a policy would learn to repeat it",
            "ask for the answer in tags or a box and have the reward look nowhere else, or word the questions so that they do "
            "not hold their answers",
        )


def _without_spread(
    patient: Patient, marked: Sequence[Marked], reward: str, *, needs_answer: bool
) -> Iterator[Finding]:
    given = {part for mark in marked for part in mark.given(reward)}
    if len(given) != 1:
        return
    (score,) = given
    limit = patient.longest_completion() or ENDLESS
    # A penalty for length has nothing to say about what is written here, right or wrong, because all of it is short.
    punished = None if score is None or needs_answer else _punished_length(patient, marked[0], reward, score, limit)
    if punished is None:
        what = "abstains on" if score is None else f"gives {score} to"
        # Without reference answers and responses nothing right can be written, and nonsense deserves nothing.
        can_tell = any(written.is_right for mark in marked for written in mark.responses) or score
        yield Finding(
            "problem" if can_tell else "warning",
            f"reward {reward!r} {what} every response, right or wrong, in any usual format: it has no spread, so no group would "
            "have anything to learn from it",
            "does the chat template put the opening tag into the assistant's mouth, or does the reward expect other tags? Look at "
            "`ponder plugins show reward` for its options",
        )
    elif punished > limit:
        yield Finding(
            "warning",
            f"reward {reward!r} gives {score} to every response of up to {limit} tokens, and the stage draws none that is longer: "
            "what it punishes never happens, so nothing would be learnt from it",
            "let it begin to punish below the sampler's max_new_tokens, or take it out of the stage",
        )


def _punished_length(patient: Patient, mark: Marked, reward: str, score: float, limit: int) -> int | None:
    """How long a response is, of the stage's length limit or endless, that gets less than `score`; None where neither does."""
    lengths = sorted({limit, ENDLESS})
    # Behind one that it can score, so that a reward which fails on long ones is not taken for one that always fails.
    completions = [mark.responses[0].completion, *map(long_completion, lengths)]
    with patient.clinic.start_rubric([reward]) as rubric:
        scores = rubric.score([Rollout(mark.example, completion, 0) for completion in completions])
    given = zip(lengths, (scored.parts[reward] for scored in scores[1:]), strict=True)
    return next((length for length, part in given if part is not None and part < score), None)


def _contradicting(marked: Sequence[Marked], names: Sequence[str]) -> Iterator[Finding]:
    """Rewards that each have a response with full marks, and none that they share."""
    for mark in marked:
        favourite = mark.favourite()
        if favourite is None:
            continue
        written, score = favourite
        lost = [
            name
            for name in names
            if (best := mark.best(name)) is not None
            and best >= FULL_MARKS - CLOSE
            and (given := score.parts[name]) is not None
            and given < FULL_MARKS - CLOSE
        ]
        if lost:
            others = ", ".join(name for name in names if name not in lost)
            yield Finding(
                "problem",
                f"no response gets full marks from all rewards: the best that could be written ({written.style}) satisfies "
                f"{others}, and gets {score.parts[lost[0]]} from {lost[0]!r} (example {mark.place})",
                "the rewards ask for different formats or languages: choose one format for all of them, and a chat template that "
                "agrees with it",
            )
            return


def _is_full(part: float | None) -> bool:
    return part is not None and part >= FULL_MARKS - CLOSE


REWARD_CHECKS: Final = (
    Check("full_marks", "Would a perfect answer get full marks, and nonsense none?", scores_rollouts, examine_marks),
    Check("order", "Do the rewards give the same scores in any order?", scores_rollouts, examine_order),
)
