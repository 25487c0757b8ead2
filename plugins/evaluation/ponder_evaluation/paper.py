"""The paper's tables beside this run's, and where the two disagree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Final

from ponder_evaluation.cells import change_cell, told
from ponder_evaluation.claims import Findings
from ponder_evaluation.distillation import ComputeTable
from ponder_evaluation.markup import Section, number, percent, points, table, tag, text
from ponder_evaluation.published import RL_AGAINST_DISTILLATION, STAGES, STAGES_READING, Row
from ponder_evaluation.roles import Roles
from ponder_evaluation.standings import Change, Standings

REASONING_ROWS: Final = ("AIME 2024", "MATH-500")
GENERAL_ROWS: Final = ("IF-Eval", "AlpacaEval 2.0", "Arena-Hard")
OTHER: Final = "The benchmarks are not the same: what can be compared is the direction of each change."
NEARLY_EQUAL: Final = (0.5, 2.0)


@dataclass(frozen=True, slots=True)
class Step:
    """One stage's change of one skill, in the paper and here."""

    stage: str
    skill: str
    benchmark: str
    paper: float
    """In percentage points."""
    here: Change


def agreement(paper: float, here: Change) -> str:
    """Whether two changes have one direction, as far as this run can tell."""
    is_clear = here.is_clear or here.p_value is None
    if paper * here.difference > 0:
        return "agrees" if is_clear else "same direction, not clear"
    return "disagrees" if is_clear else "no clear change here"


def stages_section(findings: Findings) -> Section | None:
    """The models of the recipe in the paper's table and in this run's, with the direction of each step compared."""
    columns = _columns(findings.roles)
    if len(columns) < 2:
        return None
    content = table(*_stage_table(findings, columns), class_="numbers")
    steps = list(_steps(findings, columns))
    if steps:
        content += _disagreements(steps) + table(*_step_table(steps), class_="cards")
    return Section("paper", "The stages beside the paper's", content, f"{STAGES.source}. {STAGES_READING} {OTHER}")


def distillation_section(findings: Findings) -> Section | None:
    """Distillation against reinforcement on the same student, here and in the paper."""
    compute = findings.compute
    if compute is None or not compute.rows:
        return None
    reference = " + ".join(compute.reference)
    note = f"Compute of 1 is {number(compute.reference_flops)} floating-point operations: {reference}, the teacher's sampling included."
    content = _compute_table(compute) + _compute_words(findings, compute)
    paper = RL_AGAINST_DISTILLATION
    rows = [[text(row.name), *map(_score, row.values)] for row in paper.rows]
    content += tag("h3", "The paper's") + table(["model", *map(text, paper.columns)], rows, class_="numbers")
    content += tag("p", text(paper.source), class_="note")
    return Section("distillation", "Distillation against reinforcement", content, note)


def _columns(roles: Roles) -> list[tuple[int, str]]:
    """The paper's column and our model of each stage that this run has."""
    names = (roles.zero, roles.cold_start, roles.reasoning, roles.sft, roles.r1)
    return [(place, name) for place, name in enumerate(names) if name is not None]


def _stage_table(findings: Findings, columns: Sequence[tuple[int, str]]) -> tuple[list[str], list[list[str]]]:
    head = ["", *(text(name) + tag("small", text(STAGES.columns[place])) for place, name in columns)]
    rows = []
    for standings, benchmarks in _skills(findings):
        ours = [standings.exam.of(name) for _, name in columns]
        rows.append(
            [
                tag("b", text(standings.exam.task)) + tag("small", "this run, pass@1"),
                *(percent(stage.metrics["pass@1"]) if stage else "–" for stage in ours),
            ]
        )
        rows += [
            [text(row.name) + tag("small", "paper"), *(_score(row.values[place]) for place, _ in columns)]
            for row in benchmarks
        ]
    return head, rows


def _skills(findings: Findings) -> Iterator[tuple[Standings, Sequence[Row]]]:
    by_name = {row.name: row for row in STAGES.rows}
    if findings.reasoning:
        yield findings.reasoning, [by_name[name] for name in REASONING_ROWS]
    if findings.general:
        yield findings.general, [by_name[name] for name in GENERAL_ROWS]


def _steps(findings: Findings, columns: Sequence[tuple[int, str]]) -> Iterator[Step]:
    for standings, benchmarks in _skills(findings):
        first = benchmarks[0]
        for (place, name), (next_place, next_name) in pairwise(columns):
            before, after = first.values[place], first.values[next_place]
            change = standings.change(name, next_name)
            if change and before is not None and after is not None:
                yield Step(f"{name} → {next_name}", standings.exam.task, first.name, after - before, change)


def _step_table(steps: Sequence[Step]) -> tuple[list[str], list[list[str]]]:
    head = ["step", "exam here", "change here", "paper", "change there", ""]
    rows = [
        [
            text(step.stage),
            text(step.skill),
            change_cell(step.here),
            text(step.benchmark),
            points(step.paper / 100),
            tag(
                "b",
                text(agreement(step.paper, step.here)),
                class_={"agrees": "right", "disagrees": "wrong"}.get(agreement(step.paper, step.here), ""),
            ),
        ]
        for step in steps
    ]
    return head, rows


def _disagreements(steps: Sequence[Step]) -> str:
    found = [step for step in steps if agreement(step.paper, step.here) == "disagrees"]
    if not found:
        return tag("p", "In no step does this run clearly go against the paper.")
    lines = [
        f"{text(step.stage)}: {text(step.skill)} {points(step.here.difference)} points here, "
        f"{text(step.benchmark)} {points(step.paper / 100)} in the paper"
        for step in found
    ]
    return tag("p", "Where the miniature disagrees with the paper:") + tag(
        "ul", "".join(tag("li", words) for words in lines)
    )


def _compute_table(compute: ComputeTable) -> str:
    head = ["model", "how", "exam", "pass@1", "compute", "operations"]
    rows = [
        [
            text(row.model),
            text(row.method),
            text(row.task),
            percent(row.pass_at_1) + tag("small", f"{100 * row.low:.1f} to {100 * row.high:.1f}"),
            f"{number(row.relative)} ×",
            number(row.flops) + tag("small", text(" + ".join(row.stages))),
        ]
        for row in compute.rows
    ]
    return table(head, rows, class_="cards")


def _compute_words(findings: Findings, compute: ComputeTable) -> str:
    """For each pair of student and rival: which way the difference goes, and that of the paper."""
    _, rival, student = RL_AGAINST_DISTILLATION.rows
    paper = (student.values[0] or 0.0) - (rival.values[0] or 0.0)
    lines = "".join(tag("li", text(words)) for words in _pairs(findings, compute, paper))
    lead = f"In the paper distillation is {points(paper / 100)} points ahead of reinforcement (AIME 2024). Here:"
    return tag("p", lead) + tag("ul", lines) if lines else ""


def _pairs(findings: Findings, compute: ComputeTable, paper: float) -> Iterator[str]:
    for standings in (standings for standings in findings.exams if not standings.exam.shots):
        rows = [row for row in compute.rows if row.task == standings.exam.task]
        students = [row for row in rows if row.method == "distillation"]
        rivals = [row for row in rows if row.method == "reinforcement"]
        for student, rival in product(students, rivals):
            change = standings.change(rival.model, student.model)
            if change:
                is_equal = NEARLY_EQUAL[0] <= rival.relative <= NEARLY_EQUAL[1]
                cost = "equal compute" if is_equal else f"{number(rival.relative)} times the compute"
                whom = f"{student.model} against {rival.model} with {cost}, on {student.task}"
                yield f"{whom}: {told(change)}: {agreement(paper, change)}"


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"
