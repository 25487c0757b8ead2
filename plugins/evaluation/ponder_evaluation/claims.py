"""What the R1 recipe is said to show, checked from the numbers of a run: each claim with its verdict and its evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from statistics import fmean
from typing import Any, Final, Literal

from ponder_evaluation.cells import told
from ponder_evaluation.comparison import Evaluation
from ponder_evaluation.distillation import ComputeTable
from ponder_evaluation.evidence import AtLeast, Below, Check, ClaimFinding, Finding, examine, r1_claims
from ponder_evaluation.exams import by_difficulty
from ponder_evaluation.markup import Section, number, percent, points, table, tag, text
from ponder_evaluation.pipeline import Pipeline
from ponder_evaluation.readings import Reading
from ponder_evaluation.roles import Roles
from ponder_evaluation.scoreboard import shot_changes
from ponder_evaluation.standings import Change, Standings

Verdict = Literal["yes", "no", "unclear", "shown"]

MARKS: Final[Mapping[Verdict, str]] = {"yes": "✓ yes", "no": "✗ no", "unclear": "~ not clear", "shown": "· no claim"}
_OF_ONE_RUN: Final[Mapping[str, Verdict]] = {"yes": "yes", "not clear": "unclear"}
"""Findings of a single run that are in the claimed direction."""
NAMING_OPTIONS: Final = ("model", "over", "than")
"""The fields of a check that name models."""
NOTE: Final = (
    "Computed from the numbers of this run, with 95 % intervals over problems in brackets. A gain is “not clear” where it is in the claimed "
    "direction, but its interval holds zero."
)


@dataclass(frozen=True, slots=True)
class Statement:
    """A claim about the recipe and what this run says about it."""

    words: str
    verdict: Verdict
    evidence: Sequence[str]


@dataclass(frozen=True, slots=True)
class Findings:
    """What claims are checked from."""

    pipeline: Pipeline
    roles: Roles
    exams: Sequence[Standings]
    compute: ComputeTable | None

    @property
    def reasoning(self) -> Standings | None:
        """The exam in reasoning: the first without worked examples that is not about general wishes."""
        return next((found for found in self.exams if not found.exam.is_general and not found.exam.shots), None)

    @property
    def general(self) -> Standings | None:
        """The exam in general wishes."""
        return next((found for found in self.exams if found.exam.is_general and not found.exam.shots), None)


def claims_section(statements: Sequence[Statement]) -> Section | None:
    """All claims that the run has numbers for."""
    if not statements:
        return None
    rows = [
        [
            tag("span", MARKS[statement.verdict], class_=f"verdict {statement.verdict}"),
            text(statement.words),
            "".join(tag("div", text(line)) for line in statement.evidence),
        ]
        for statement in statements
    ]
    claimed = [statement for statement in statements if statement.verdict != "shown"]
    held = sum(statement.verdict == "yes" for statement in claimed)
    summary = tag("p", f"{tag('b', str(held))} of {len(claimed)} claims hold in this run.")
    content = summary + table(["", "claim", "numbers of this run"], rows, class_="cards claims")
    return Section("claims", "What the recipe shows", content, NOTE)


def statements_of(found: Findings) -> list[Statement]:
    """Every claim whose stages this run has: what reinforcement alone brings out, the recipe's steps, and what time to think does."""
    checks: Sequence[Callable[[Findings], Iterator[Statement]]] = (
        _reinforcement,
        _emergence,
        _recipe,
        _thinking,
        _voting,
        _shots,
    )
    return [statement for check in checks for statement in check(found)]


def _reinforcement(found: Findings) -> Iterator[Statement]:
    change = found.reasoning and found.reasoning.change(found.roles.base, found.roles.zero)
    if change:
        line = f"{found.roles.zero} over {found.roles.base}: {percent(change.before)} → {percent(change.after)}, {told(change)}"
        yield Statement(
            "Reinforcement alone, without an example to imitate, teaches to reason", _verdict(change), [line]
        )


def _emergence(found: Findings) -> Iterator[Statement]:
    stage = found.pipeline.stage(found.roles.zero or "")
    if stage is None:
        return
    for metric, words, unit in (
        ("response_length", "Thinking time grows over the steps of reinforcement", "tokens"),
        ("reflection_rate", "Reflective words grow over the steps of reinforcement", "words per response"),
    ):
        ends = _ends(stage, metric)
        if ends:
            line = f"{stage.name}: {number(ends[0])} → {number(ends[1])} {unit}, first and last tenth of the steps"
            yield Statement(words, "yes" if ends[1] > ends[0] else "no", [line])


def _recipe(found: Findings) -> Iterator[Statement]:
    """The claims of the recipe, about the stages that play its parts in this run."""
    if found.reasoning is None:
        return
    exams: dict[tuple[str, str], Evaluation] = {}
    for standings in (standings for standings in found.exams if not standings.exam.shots):
        for stage in standings.exam.evaluations:
            if stage.name in standings.problems:
                exams[stage.subject, standings.exam.task] = standings.problems[stage.name]
    general = found.general.exam.task if found.general else ""
    names = _names(found)
    for claim in r1_claims(found.reasoning.exam.task, general):
        checks = [check for original in claim.checks if (check := _renamed(original, names)) is not None]
        measured = [check for check in checks if check.outcome(exams) is not None]
        if measured and (len(measured) == len(checks) or claim.needs != "all"):
            (finding,) = examine([replace(claim, checks=measured)], [exams])
            yield Statement(claim.text, _verdict_of(finding), [_line(line) for line in finding.findings])


def _thinking(found: Findings) -> Iterator[Statement]:
    model = found.roles.r1 or found.roles.zero
    stage = found.reasoning and found.reasoning.exam.of(model)
    rows = by_difficulty(stage) if stage else []
    if len(rows) > 1:
        (easiest, _, short), (hardest, _, long) = rows[0], rows[-1]
        line = f"{model}: {number(short)} tokens at difficulty {easiest}, {number(long)} at {hardest}"
        yield Statement("Harder problems are thought about for longer", "yes" if long > short else "no", [line])


def _voting(found: Findings) -> Iterator[Statement]:
    model = found.roles.r1 or found.roles.zero
    stage = found.reasoning and found.reasoning.exam.of(model)
    metrics: Mapping[str, float] = stage.metrics if stage else {}
    votes = next((name for name in metrics if name.startswith("cons@")), None)
    if votes:
        line = f"{model}: {votes} {percent(metrics[votes])}, pass@1 {percent(metrics['pass@1'])}"
        verdict: Verdict = "yes" if metrics[votes] > metrics["pass@1"] else "no"
        yield Statement("The majority of several answers is better than one", verdict, [line])


def _shots(found: Findings) -> Iterator[Statement]:
    changes = [(model, change) for model, _, change in shot_changes(found.exams) if model in found.roles.line]
    if not changes:
        return
    lines = [
        f"{model}: {percent(change.before)} → {percent(change.after)} with examples, {told(change)}"
        for model, change in changes
    ]
    is_worse = [change.difference < 0 for _, change in changes]
    is_sure = all(change.is_clear or change.p_value is None for _, change in changes)
    verdict: Verdict = "no" if not all(is_worse) else "yes" if is_sure else "unclear"
    yield Statement("Worked examples in the prompt make it worse", verdict, lines)


def _names(found: Findings) -> dict[str, str | None]:
    """Who plays whom; rivals in the order of what they may spend."""
    roles = found.roles
    rivals = sorted(roles.reinforced, key=lambda name: _budget(found.pipeline, name))
    students = dict(zip(("distilled_qwen", "distilled_llama"), roles.distilled, strict=False))
    parts = {name: getattr(roles, name) for name in ("base", "zero", "cold_start", "reasoning", "sft", "r1")}
    return {**parts, **students, **dict(zip(("rl_qwen", "rl_qwen_10x"), rivals, strict=False))}


def _budget(pipeline: Pipeline, name: str) -> float:
    stage = pipeline.stage(name)
    factor = stage.options.get("compute_factor") if stage else None
    return float(factor) if isinstance(factor, int | float) else 0.0


def _renamed(check: Check, names: Mapping[str, str | None]) -> Check | None:
    """The same check about the models of this run; None when one of them is missing."""
    changed: Any = check
    for name in (field.name for field in fields(changed) if field.name in NAMING_OPTIONS):
        model = names.get(getattr(changed, name))
        if model is None:
            return None
        changed = replace(changed, **{name: model})
    return changed


def _verdict_of(finding: ClaimFinding) -> Verdict:
    return "shown" if finding.verdict is None else _OF_ONE_RUN.get(finding.verdict, "no")


def _line(finding: Finding) -> str:
    """A check with its number, the number's interval, and whether it is met."""
    if finding.mean is None:
        return f"{finding.check.label}: not measured"
    is_level = isinstance(finding.check, AtLeast | Below)
    value = percent(finding.mean) if is_level else f"{points(finding.mean)} points"
    interval = ""
    if finding.low is not None and finding.high is not None:
        ends = (
            (f"{100 * finding.low:.1f}", f"{100 * finding.high:.1f}")
            if is_level
            else map(points, (finding.low, finding.high))
        )
        interval = f" ({' to '.join(ends)})"
    return f"{'✓' if finding.verdict in _OF_ONE_RUN else '✗'} {finding.check.label}: {value}{interval}"


def _verdict(change: Change) -> Verdict:
    if change.difference <= 0:
        return "no"
    return "yes" if change.is_clear or change.p_value is None else "unclear"


def _ends(stage: Reading, metric: str) -> tuple[float, float] | None:
    """The means over the first and the last tenth of the steps."""
    values = [value for _, value in stage.curve(metric)]
    share = max(1, len(values) // 10)
    return (fmean(values[:share]), fmean(values[-share:])) if len(values) > 1 else None
