"""The sections that show what the model wrote: one problem at several steps, and answers before and after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ponder_evaluation.markup import number, tag, text
from ponder_evaluation.readings import Reading, Row

PROBLEMS: Final = 3
MOMENTS: Final = 6
EXAMPLES: Final = 4


def over_steps(stages: Sequence[Reading]) -> str:
    """The same problems answered at several steps of training."""
    blocks = [block for stage in stages for block in _probed_problems(stage)]
    if not blocks:
        return ""
    return tag("section", tag("h2", "The same problem at several steps") + "".join(blocks))


def before_and_after(evaluations: Sequence[Reading]) -> str:
    """Problems that the first and the last evaluation share, with an answer of each; changes of verdict come first."""
    if len(evaluations) < 2:
        return ""
    first, last = evaluations[0], evaluations[-1]
    pairs = list(_pairs(first.samples, last.samples))[:EXAMPLES]
    blocks = [_problem(before, [(first.subject, before), (last.subject, after)]) for before, after in pairs]
    return tag("section", tag("h2", "Answers before and after") + "".join(blocks)) if blocks else ""


def _probed_problems(stage: Reading) -> Iterator[str]:
    problems: dict[str, list[Row]] = {}
    for row in sorted(stage.probes, key=lambda row: float(row["step"])):
        problems.setdefault(str(row.get("prompt")), []).append(row)
    for rows in list(problems.values())[:PROBLEMS]:
        yield _problem(rows[0], [(f"step {row['step']}", row) for row in _spread(rows, MOMENTS)])


def _spread(rows: Sequence[Row], count: int) -> list[Row]:
    """`count` rows from the first to the last, evenly; all when there are no more."""
    if len(rows) <= count:
        return list(rows)
    return [rows[round(place * (len(rows) - 1) / (count - 1))] for place in range(count)]


def _pairs(before: Sequence[Row], after: Sequence[Row]) -> Iterator[tuple[Row, Row]]:
    """One sample of each problem on either side: first problems that became right, one of each difficulty at a time."""
    later = _first_of_each_problem(after)
    pairs = [(row, later[key]) for key, row in _first_of_each_problem(before).items() if key in later]
    seen: dict[object, int] = {}
    ranked = []
    for place, (old, new) in enumerate(pairs):
        has_improved = bool(new.get("correct")) and not old.get("correct")
        kind = (has_improved, old.get("difficulty"))
        seen[kind] = seen.get(kind, 0) + 1
        ranked.append((not has_improved, seen[kind], place))
    return (pairs[place] for _, _, place in sorted(ranked))


def _first_of_each_problem(rows: Sequence[Row]) -> dict[tuple[object, object], Row]:
    first: dict[tuple[object, object], Row] = {}
    for row in rows:
        first.setdefault((row.get("problem"), str(row.get("prompt"))), row)
    return first


def _problem(asked: Row, answers: Sequence[tuple[str, Row]]) -> str:
    reference = tag("p", f"Reference answer: {text(asked.get('answer'))}", class_="note")
    question = tag("pre", text(str(asked.get("prompt"))), class_="prompt")
    cards = "".join(_card(title, row) for title, row in answers)
    return tag("article", question + reference + tag("div", cards, class_="cards"))


def _card(title: str, row: Row) -> str:
    facts = [text(title), *_facts(row)]
    return tag(
        "div", tag("p", " · ".join(facts), class_="note") + tag("pre", text(row.get("completion") or "(nothing)"))
    )


def _facts(row: Row) -> Iterator[str]:
    length = row.get("length", row.get("tokens"))
    if length is not None:
        yield f"{text(length)} tokens"
    if "correct" in row:
        yield tag("b", "right", class_="right") if row["correct"] else tag("b", "wrong", class_="wrong")
    elif isinstance(row.get("score"), int | float):
        yield f"score {number(row['score'])}"
