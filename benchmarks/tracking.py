"""What tracking costs: the same recipe with and without `tracker: mlflow`, each in a process and a directory of its own.

Runs alternate, and medians are reported, by the clock and in processor time (which a busy machine disturbs less): what tracking adds, and
its share of the untracked run. Part of it is paid once however long a run is (MLflow is imported, and in a new directory its tables
are made); the rest grows with stages and steps. Both are shown, so that a short recipe tells what a long one pays: `--of 1800` gives
the share of a run of half an hour with as many stages and steps. `--told runs/r1_mini` measures something else: all that a finished run
has told is told once more to a new MLflow, by itself, as often as said; what that takes, start and end included, is what the run spent on it.

    python benchmarks/tracking.py --repeats 3 --of 1800
    python benchmarks/tracking.py --repeats 3 --told runs/r1_mini --of 1300
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ponder.store import stages_in
from ponder_evaluation.readings import read_rows
from ponder_mlflow import MlflowConfig
from ponder_mlflow.tracker import MlflowTracker

RECIPE = Path(__file__).parent.parent / "examples" / "recipes" / "tiny.yaml"
ONCE = (
    "from pathlib import Path; from ponder_mlflow import MlflowConfig; from ponder_mlflow.tracker import MlflowTracker; "
    "tracker = MlflowTracker(MlflowConfig(), Path({runs!r})); tracker.start('once', {{}}); tracker.finish('finished')"
)

UNTOLD = {"manifest.json", "options.json", "result.json", "metrics.jsonl", "timings.jsonl", "expert_loads.jsonl"}
"""Files of a stage that no tracker is given as such."""


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock, and of processor time."""

    clock: float
    processor: float

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.clock - other.clock, self.processor - other.processor)


def cost(*command: str) -> Cost:
    """What a command takes; it must succeed."""
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    after, ended = os.times(), time.perf_counter()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(ended - began, used)


def run(recipe: Path, tracker: str) -> Cost:
    """One run of the recipe from nothing."""
    with tempfile.TemporaryDirectory() as runs:
        return cost(sys.executable, "-m", "ponder", "run", str(recipe), "--runs", runs, f"tracker={tracker}")


def once() -> Cost:
    """A tracked run without stages, less what Python and core need to start."""
    with tempfile.TemporaryDirectory() as runs:
        return cost(sys.executable, "-c", ONCE.format(runs=runs)) - cost(sys.executable, "-c", "import ponder.run")


def told(run: Path) -> Cost:
    """All that a finished run has told, told to a new MLflow, less what Python and core need to start."""
    with tempfile.TemporaryDirectory() as runs:
        return cost(sys.executable, __file__, "--tell", str(run), runs) - cost(
            sys.executable, "-c", "import ponder.run"
        )


def tell(run: Path, runs: Path) -> None:
    """Tell a new MLflow in `runs` what every stage of the run logged, kept and made."""
    tracker = MlflowTracker(MlflowConfig(), runs)
    tracker.start(run.name, {})
    for stage in stages_in(run):
        tracker.start(stage.name, {"type": stage.type, **stage.options, "fingerprint": stage.fingerprint})
        for row in read_rows(stage.directory / "metrics.jsonl"):
            numbers = {name: value for name, value in row.items() if isinstance(value, (int, float))}
            tracker.log(numbers, row.get("step"))
        for path in sorted(path for path in stage.directory.iterdir() if path.is_file() and path.name not in UNTOLD):
            tracker.artifact(path)
        tracker.log(stage.result.metrics)
        tracker.published(stage.directory)
        tracker.finish("finished")
    tracker.finish("finished")


def median(costs: Sequence[Cost]) -> Cost:
    """The medians of both."""
    return Cost(statistics.median(one.clock for one in costs), statistics.median(one.processor for one in costs))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--repeats", type=int, default=3, help="pairs of runs (default: 3)")
    parser.add_argument("--told", type=Path, metavar="RUN", help="measure what a finished run has told instead")
    parser.add_argument("--tell", type=Path, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--of", type=float, metavar="SECONDS", help="also the share of a run that takes so long")
    parser.add_argument(
        "--cores", type=int, default=2, help="that the told run kept busy, as --jobs has it (default: 2)"
    )
    arguments = parser.parse_args()
    if arguments.tell:
        tell(*arguments.tell)
    elif arguments.told:
        taken = median([told(arguments.told) for _ in range(arguments.repeats)])
        print(
            f"all that {arguments.told} has told: {taken.clock:.1f} s by the clock, {taken.processor:.1f} s of processor time"
        )
        if arguments.of:
            share = taken.processor / (arguments.of * arguments.cores)
            print(f"   of what {arguments.cores} busy cores did in {arguments.of:.0f} s that is {share:.2%}")
    else:
        compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    """Tracked and untracked runs of the recipe, in turns."""
    pairs = [(run(arguments.recipe, "null"), run(arguments.recipe, "{type: mlflow}")) for _ in range(arguments.repeats)]
    plain, tracked = (median(column) for column in zip(*pairs, strict=True))
    fixed = median([once() for _ in range(arguments.repeats)])
    added = tracked - plain
    for name in ("clock", "processor"):
        base, more, start = (getattr(one, name) for one in (plain, added, fixed))
        print(
            f"{name:>9}: {base:.1f} s untracked, {more:+.1f} s tracked ({more / base:+.1%}): {start:.1f} s once, "
            f"{more - start:+.1f} s for its stages and steps ({(more - start) / base:+.1%})"
        )
    if arguments.of:
        print(f"   a run of {arguments.of:.0f} s would pay {max(added.clock, added.processor) / arguments.of:.2%}")


if __name__ == "__main__":
    main()
