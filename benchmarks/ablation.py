"""DeepSeek-V3's ablations, three seeds: ways to balance experts, and multi-token prediction, beside the paper's, as Markdown tables.

Runs examples/recipes/ablation.yaml once for each seed (what is finished is not run again) and reads what its stages left.
MaxVio is over the loads of the last quarter of the kept steps, summed, and the mean over layers; losses are of the next token, on pages
about problems that no training page states. Intervals are Student's t over seeds, 95 %.

    python benchmarks/ablation.py --runs runs_ablation
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from ponder.cli import main as ponder
from ponder.context import FinishedStage
from ponder.store import stages_in
from ponder_evaluation.evidence import Outcome, mean_interval
from ponder_evaluation.readings import read_rows

RECIPE: Final = Path(__file__).parents[1] / "examples/recipes/ablation.yaml"
LAST: Final = 0.75
"""Where the share of a run begins that MaxVio is measured over."""
PAPER: Final[Mapping[str, tuple[str, str]]] = {
    "with_bias": ("2.253", "0.04"),
    "sequence_loss": ("2.258", "0.72 (an auxiliary loss)"),
    "batch_loss": ("2.253", "–"),
    "unbalanced": ("–", "–"),
}
"""Validation loss of DeepSeek-V3's 1B model (section 4.5.3), and MaxVio of the 1B model of arXiv 2408.15664."""
PAPER_AHEAD: Final[Mapping[str, tuple[str, str, str]]] = {
    "with_bias": ("25.4", "20.7", "39.0"),
    "multi_token": ("31.4", "26.8", "41.4"),
}
"""GSM8K, HumanEval and BBH of DeepSeek-V3's 15.7B model without and with a module that is left out again (table 4)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing and print the table; the exit code of a run that failed."""
    options = _parser().parse_args(arguments)
    runs = []
    for seed in range(options.seeds):
        root = options.runs / f"seed_{seed}"
        code = ponder(["run", str(RECIPE), "--runs", str(root), f"seed={seed}", *options.overrides])
        if code:
            return int(code)
        runs.append({stage.name: stage for stage in stages_in(root / "ablation")})
    print("\n".join((*balance_table(runs), "", *ahead_table(runs))))
    return 0


def balance_table(runs: Sequence[Mapping[str, FinishedStage]]) -> Iterator[str]:
    """A row for each way to balance, over seeds."""
    yield "| balanced by | validation loss | MaxVio | dead experts | paper: validation loss | paper: MaxVio |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, (loss, violation) in PAPER.items():
        stages = [stages[name] for stages in runs]
        measured = [
            _over_seeds([stage.result.metrics["validation_loss"] for stage in stages]),
            _over_seeds([max_violation(stage) for stage in stages]),
            _over_seeds([dead_experts(stage) for stage in stages], digits=1),
        ]
        yield f"| `{name}` | {' | '.join(measured)} | {loss} | {violation} |"


def ahead_table(runs: Sequence[Mapping[str, FinishedStage]]) -> Iterator[str]:
    """A row without and one with multi-token prediction, and the difference by seed, over seeds."""
    yield "| trained on | validation loss | paper: GSM8K | paper: HumanEval | paper: BBH |"
    yield "| --- | --- | --- | --- | --- |"
    losses = {name: [stages[name].result.metrics["validation_loss"] for stages in runs] for name in PAPER_AHEAD}
    for name, published in PAPER_AHEAD.items():
        yield f"| `{name}` | {_over_seeds(losses[name])} | {' | '.join(published)} |"
    differences = [after - before for before, after in zip(*losses.values(), strict=True)]
    yield f"| difference | {_over_seeds(differences)} | +6.0 | +6.1 | +2.4 |"


def max_violation(stage: FinishedStage) -> float:
    """How far the fullest expert is above the mean of its layer at the end of a stage; the mean over layers."""
    found = [max(loads) * len(loads) / sum(loads) - 1 for loads in final_loads(stage)]
    return sum(found) / len(found)


def dead_experts(stage: FinishedStage) -> float:
    """Experts of all layers that get under a hundredth of the mean at the end of a stage."""
    return float(sum(load * len(loads) < 0.01 * sum(loads) for loads in final_loads(stage) for load in loads))


def final_loads(stage: FinishedStage) -> list[list[int]]:
    """Tokens given to each expert in the last quarter of the kept steps, layer by layer."""
    rows = read_rows(stage.directory / "expert_loads.jsonl")
    first = LAST * max(row["step"] for row in rows)
    late = [row for row in rows if row["step"] >= first]
    layers = sorted({row["layer"] for row in late})
    return [
        [sum(counts) for counts in zip(*(row["loads"] for row in late if row["layer"] == layer), strict=True)]
        for layer in layers
    ]


def _over_seeds(values: Sequence[float], digits: int = 3) -> str:
    mean, low, high = mean_interval([Outcome(value, None, None, 0.0) for value in values])
    bounds = "" if low is None or high is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{mean:.{digits}f}{bounds} ({', '.join(f'{value:.{digits}f}' for value in values)})"


def _parser() -> argparse.ArgumentParser:
    summary, _, details = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=Path("runs_ablation"), help="where the runs go (%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="how many (%(default)s)")
    parser.add_argument("overrides", nargs="*", help="further overrides of the recipe, key=value")
    return parser


if __name__ == "__main__":
    sys.exit(main())
