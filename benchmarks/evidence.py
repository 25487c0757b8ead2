"""What several runs of a recipe, with different seeds, show of the paper's claims: Markdown tables for a README.

Reads `result.json` and `evaluation.json` of finished stages and nothing else; give one directory for each seed. The claims are
those of examples/recipes/r1_mini.yaml, in `ponder_evaluation.evidence`; models and tasks are found by the evaluations' options,
whatever these stages are called. Intervals are 95 %: in a seed's column over problems, in the mean's column Student's t over seeds.

    python benchmarks/evidence.py runs_0/r1_mini runs_1/r1_mini runs_2/r1_mini
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ponder.context import FinishedStage
from ponder.store import stages_in
from ponder_evaluation.comparison import LABELS, MEASURES, Evaluation, Measure
from ponder_evaluation.distillation import ComputeRow, compute_table
from ponder_evaluation.estimates import interval
from ponder_evaluation.evidence import ClaimFinding, Exams, Outcome, examine, mean_interval, r1_claims, read_exams
from ponder_evaluation.significance import paired_interval


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; 2 when a directory holds no run."""
    options = _parser().parse_args(arguments)
    runs: list[list[FinishedStage]] = []
    for directory in options.runs:
        stages = stages_in(directory) if directory.is_dir() else []
        if not stages:
            print(
                f"{directory} holds no finished stage; give the directories of runs, such as runs/r1_mini",
                file=sys.stderr,
            )
            return 2
        runs.append(stages)
    exams = [read_exams(stages) for stages in runs]
    names = [f"seed {number}" for number in range(len(runs))]
    print("\n".join(claims_table(examine(r1_claims(options.reasoning, options.general), exams), names)), end="\n\n")
    for task in (options.reasoning, options.general):
        print("\n".join(models_table(task, exams)), end="\n\n")
    print("\n".join(costs_table(runs)))
    return 0


def claims_table(found: Sequence[ClaimFinding], names: Sequence[str]) -> Iterator[str]:
    """A row for each check of each claim, with what every seed shows."""
    yield _row(["claim", "check", *names, "mean", "holds"])
    yield _row(["---"] * (len(names) + 4))
    for claim in found:
        text = claim.claim.text + (" (either)" if claim.claim.needs == "any" else "")
        for place, finding in enumerate(claim.findings):
            of_seeds = ["–" if outcome is None else _outcome(outcome) for outcome in finding.outcomes]
            mean = "–" if finding.mean is None else _number(finding.mean, finding.low, finding.high)
            holds = f"**{claim.verdict}**" if place == 0 and claim.verdict else ""
            yield _row([text if place == 0 else "", finding.check.label, *of_seeds, mean, holds])


def models_table(task: str, runs: Sequence[Exams]) -> Iterator[str]:
    """A row for each model that every run evaluated on the task, means over seeds."""
    yield _row([f"model on {task}", *LABELS.values()])
    yield _row(["---"] * (len(LABELS) + 1))
    for model in dict.fromkeys(model for run in runs for model, asked in run if asked == task):
        evaluations = [run[model, task] for run in runs if (model, task) in run]
        if len(evaluations) == len(runs):
            yield _row([model, *(_over_seeds(evaluations, measure) for measure in MEASURES)])


def costs_table(runs: Sequence[Sequence[FinishedStage]]) -> Iterator[str]:
    """Distillation against reinforcement: compute as a multiple of the distilled student's, and accuracy, over seeds."""
    rows: dict[tuple[str, str, str], list[ComputeRow]] = {}
    for stages in runs:
        table = compute_table(stages)
        for row in table.rows if table else ():
            rows.setdefault((row.model, row.method, row.task), []).append(row)
    if not rows:
        return
    yield _row(["model", "method", "task", "compute", "pass@1"])
    yield _row(["---"] * 5)
    for (model, method, task), of_seeds in rows.items():
        compute, *_ = mean_interval([Outcome(row.relative, None, None, 0.0) for row in of_seeds])
        reached = mean_interval([Outcome(row.pass_at_1, row.low, row.high, 0.0) for row in of_seeds])
        yield _row([model, method, task, f"{compute:.3g} x", _number(*reached)])


def _over_seeds(evaluations: Sequence[Evaluation], measure: Measure) -> str:
    outcomes = []
    for evaluation in evaluations:
        values = [value for problem in evaluation.problems.values() if (value := problem[measure]) is not None]
        if not values:
            return "–"
        bounds = paired_interval(values, is_share=False) if measure == "length" else interval(values)
        low, high = bounds or (None, None)
        outcomes.append(Outcome(sum(values) / len(values), low, high, 0.0))
    return _number(*mean_interval(outcomes))


def _outcome(outcome: Outcome) -> str:
    return _number(outcome.value, outcome.low, outcome.high)


def _number(value: float, low: float | None = None, high: float | None = None) -> str:
    digits = 3 if abs(value) < 10 else 1
    bounds = "" if low is None or high is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f}{bounds}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _parser() -> argparse.ArgumentParser:
    summary, _, details = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, help="a directory with the stages of a run, for each seed")
    parser.add_argument(
        "--reasoning", default="held_out", help="the task of the evaluations of reasoning (%(default)s)"
    )
    parser.add_argument("--general", default="held_out_instructions", help="that of general prompts (%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
