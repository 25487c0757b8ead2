"""Whether the problems of an evaluation occur among what the policy, or one that it descends from, was trained on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from ponder import Example
from ponder.errors import InputError
from ponder.text import last_question

if TYPE_CHECKING:
    from ponder.context import FinishedStage, StageContext

MOST_PROMPTS: Final = 100_000
"""Prompts of a task that are compared; more are a corpus, for which there is the task `decontaminated`."""
PAGES: Final = "its rows are pages of text, not questions"
_SAME_COMPUTE: Final = "compute_of"
"""The option by which a stage names others for what they cost, not for what they learnt."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A task that a stage learnt from, compared."""

    stage: str
    task: str
    prompts: int
    shared: int
    """How many of the evaluation's problems occur in it."""


@dataclass(frozen=True, slots=True)
class Unchecked:
    """A task that a stage learnt from, not compared, and why."""

    stage: str
    task: str
    reason: str


@dataclass(frozen=True, slots=True)
class Contamination:
    """What was found."""

    problems: Sequence[int] = ()
    """Places of the problems that occur in any of the tasks."""
    checked: Sequence[Checked] = field(default_factory=list)
    unchecked: Sequence[Unchecked] = field(default_factory=list)


def find_contamination(context: StageContext, policy: str, examples: Sequence[Example]) -> Contamination:
    """Compare the questions, word for word, with the prompts of all tasks behind the policy.

    Only the words of the question count (the last message of the user), not its spaces. Paraphrases are not found.
    """
    places: dict[str, list[int]] = {}
    for place, example in enumerate(examples):
        places.setdefault(question_of(example), []).append(place)
    compared: dict[str, tuple[int, set[int]] | str] = {}
    checked, unchecked, found = [], [], set[int]()
    for stage in lineage(context, policy):
        for task in tasks_of(stage):
            if task not in compared:
                compared[task] = _compare(context, task, places)
            outcome = compared[task]
            if isinstance(outcome, str):
                unchecked.append(Unchecked(stage.name, task, outcome))
            else:
                checked.append(Checked(stage.name, task, outcome[0], len(outcome[1])))
                found |= outcome[1]
    return Contamination(sorted(found), checked, unchecked)


def lineage(context: StageContext, policy: str) -> Iterator[FinishedStage]:
    """The stage that made the policy and all that it was made from, nearest first; none for a policy that nothing trained."""
    waiting, seen = [policy], {policy}
    while waiting:
        try:
            stage = context.stage(waiting.pop(0))
        except InputError:
            continue
        yield stage
        only_priced = _names(stage.options.get(_SAME_COMPUTE)) - _names(stage.options.get("policy"))
        parents = [name for name in stage.parents if name not in seen and name not in only_priced]
        seen.update(parents)
        waiting += parents


def tasks_of(stage: FinishedStage) -> list[str]:
    """The tasks that a finished stage's options name."""
    return sorted({name for option, value in stage.options.items() if "task" in option for name in _names(value)})


def question_of(example: Example) -> str:
    """The words of the question, by single spaces."""
    return " ".join(last_question(example.prompt).split())


def is_page(example: Example) -> bool:
    """Whether an example is a page of text to read, and asks nothing."""
    return isinstance(example.prompt, str) and example.answer is None and "response" not in example.metadata


def warnings(found: Contamination, count: int, task: str, policy: str) -> list[str]:
    """Lines for the user: problems that were seen before, and tasks that could not be looked through."""
    lines = []
    if found.problems:
        where = ", ".join(f"{row.shared} in {row.task!r} of stage {row.stage!r}" for row in found.checked if row.shared)
        lines.append(
            f"warning: {len(found.problems)} of the {count} problems of task {task!r} are among the prompts behind policy "
            f"{policy!r} ({where}): the evaluation flatters it; keep them apart with the task `decontaminated` or another split"
        )
    left_out = [row for row in found.unchecked if row.reason != PAGES]
    if left_out:
        where = ", ".join(f"task {row.task!r} of stage {row.stage!r} ({row.reason})" for row in left_out)
        lines.append(f"not looked through for the problems of task {task!r}: {where}")
    return lines


def _compare(context: StageContext, task: str, places: Mapping[str, Collection[int]]) -> tuple[int, set[int]] | str:
    """How many prompts were compared and which problems are among them; or why that was not done."""
    try:
        examples = iter(context.task(task).examples())
        first = next(examples, None)
        if first is not None and is_page(first):
            return PAGES
        return _shared([] if first is None else [first], examples, places)
    except InputError as error:
        return str(error).partition("\n")[0]


def _shared(
    first: Iterable[Example], rest: Iterator[Example], places: Mapping[str, Collection[int]]
) -> tuple[int, set[int]] | str:
    count, found = 0, set[int]()
    for examples in (first, islice(rest, MOST_PROMPTS)):
        for example in examples:
            count += 1
            found.update(places.get(question_of(example), ()))
    return f"more than {MOST_PROMPTS} rows" if next(rest, None) is not None else (count, found)


def _names(value: object) -> set[str]:
    if isinstance(value, str):
        return {value}
    return {item for item in value if isinstance(item, str)} if isinstance(value, list | tuple) else set()
