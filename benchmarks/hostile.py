"""What hostile completions cost: each scored by itself, with `accuracy`, `format` and `language_consistency`.

Prints the time of one completion (median, 99th percentile, longest; by the clock and therefore with what else the machine does), how many
timed out or failed, whether a crash of a worker took anything with it, and how the memory of the scoring processes grew between the
first tenth of the run and the last. A worker gets one second of processor time for each completion and reward.

    python benchmarks/hostile.py --count 10000
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import ponder_rewards
from ponder import Completion, Example, Rollout
from ponder.plugins import Registry
from ponder.rubric import Limits, NamedReward
from ponder.workers import WorkerPool

TEXTS = Path(__file__).parent.parent / "plugins" / "rewards" / "tests" / "hostile_texts.py"
LIMITS = Limits(workers=1, cpu_seconds=1.0)


def texts(count: int) -> Iterator[str]:
    """The hostile set, and mutations of it up to the count."""
    module = _module()
    known = module.hostile()[:count]
    yield from known
    yield from module.mutated(count - len(known))


def _module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hostile_texts", TEXTS)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rewards() -> list[NamedReward]:
    """The three rewards of R1."""
    registry = Registry()
    registry.register(ponder_rewards, "rewards")
    components = [registry.find("reward", name) for name in ("accuracy", "format", "language_consistency")]
    return [NamedReward(one.name, 1.0, one.make(one.config()), one.config()) for one in components]


def resident_mb(pool: WorkerPool) -> float:
    """Memory of the nursery's workers, in megabytes."""
    total = 0
    for worker in pool._workers:
        try:
            total += int(Path(f"/proc/{worker.process}/statm").read_text().split()[1])
        except (OSError, IndexError):
            continue
    return total * 4096 / 2**20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    arguments = parser.parse_args()
    pool = WorkerPool({named.name: named.reward for named in rewards()}, LIMITS)
    pool.score([Rollout(Example("2 + 2?", "4"), Completion("4"), 0)])
    took, memory, statuses = [], [], Counter[str]()
    for text in texts(arguments.count):
        began = time.perf_counter()
        verdicts = pool.score([Rollout(Example("2 + 2?", "4"), Completion(text), 0)])[0]
        took.append(time.perf_counter() - began)
        memory.append(resident_mb(pool))
        statuses.update(verdict.status for verdict in verdicts)
        right = pool.score([Rollout(Example("2 + 2?", "4"), Completion("<answer>4</answer>"), 0)])[0][0].value
        statuses["wrong afterwards"] += right != 1.0
    pool.close()
    took.sort()
    tenth = max(1, len(memory) // 10)
    first, last = statistics.median(memory[:tenth]), statistics.median(memory[-tenth:])
    print(
        f"{len(took)} completions, scored one by one with three rewards, then a right one; limit {LIMITS.cpu_seconds:g} s of processor time"
    )
    print(
        f"p50 {1000 * took[len(took) // 2]:.1f} ms, p99 {1000 * took[int(len(took) * 0.99)]:.0f} ms, max {took[-1]:.2f} s on the clock"
    )
    print("verdicts: " + ", ".join(f"{count} {status}" for status, count in sorted(statuses.items())))
    print(
        f"memory of the worker: {first:.0f} MB in the first tenth, {last:.0f} MB in the last, {max(memory):.0f} MB at most"
    )


if __name__ == "__main__":
    main()
