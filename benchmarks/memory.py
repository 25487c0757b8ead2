"""The memory that `ponder plan` expects of a training step, against what the step takes.

Pre-trains each policy for three steps in a process of its own, with the recipe's batch, and compares with the plan:

* allocated: the most that torch's allocator has handed out in the third step, weights and optimizer state included. This is what
  the plan estimates.
* resident: weights, and by how much the process has grown at most in training. Torch's own start-up is in it, some tens of
  megabytes whatever the model.

    python benchmarks/memory.py examples/recipes/tiny.yaml examples/recipes/r1_mini.yaml
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from ponder.building import build_policy, build_task
from ponder.plugins import load_registry
from ponder.recipe import load_recipe
from ponder.testing.hf_memory import most_allocated
from ponder_pretraining.packing import packed_rows
from ponder_pretraining.training import Training, batches, documents_of

STEPS = 3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recipes", nargs="+", type=Path)
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        print(json.dumps(measured(arguments.recipes[0], arguments.stage)))
        return
    print(f"{'stage':28} {'planned':>10} {'allocated':>10} {'error':>7} {'resident':>10}   MB")
    for recipe in arguments.recipes:
        for stage, planned in plans(recipe).items():
            took = in_a_process(recipe, stage)
            error = planned / took["allocated"] - 1
            sizes = (planned, took["allocated"], took["resident"])
            first, second, third = (f"{size / 1e6:10.1f}" for size in sizes)
            print(f"{recipe.stem + ' ' + stage:28} {first} {second} {error:7.1%} {third}")


def plans(recipe: Path) -> dict[str, int]:
    """The peak of each `pretrain` stage by `ponder plan`."""
    words = [sys.executable, "-m", "ponder", "plan", str(recipe), "--json"]
    plan = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    return {stage["stage"]: stage["figures"]["step"]["peak"] for stage in plan["stages"] if stage["type"] == "pretrain"}


def in_a_process(recipe: Path, stage: str) -> dict[str, int]:
    """What `measured` returns, in a fresh process."""
    words = [sys.executable, __file__, str(recipe), "--stage", stage]
    return dict(json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[-1]))


def measured(path: Path, stage: str) -> dict[str, int]:
    """Bytes that a stage's training step takes, by torch's allocator and by the operating system."""
    registry = load_registry()
    recipe = load_recipe(path, (), registry)
    config = recipe.stages[stage].config
    task = build_task(recipe, registry, {}, config.task)
    policy = build_policy(recipe, registry, {}, config.policy)
    weights = sum(parameter.nbytes for parameter in policy.model.parameters())
    training = Training(config, policy, config.learning_rate)
    documents = partial(documents_of, task, policy.tokenizer)
    batch = next(batches(policy.tokenizer, documents, packed_rows, config.sequence_length, config.rows, recipe.seed))
    policy.model.train()
    before = status("VmRSS")
    # Makes the kernel forget the highest so far, which the training of a tokenizer has left.
    Path("/proc/self/clear_refs").write_text("5")
    for step in range(STEPS - 1):
        training.step(batch, step, config.learning_rate, 0.0)
    resident = status("VmHWM") - before + weights
    peak = most_allocated(lambda: training.step(batch, STEPS - 1, config.learning_rate, 0.0))
    # Weights and AdamW's two moments stand before the step begins.
    return {"allocated": peak + 3 * weights, "resident": resident}


def status(name: str) -> int:
    """A size in the kernel's account of this process, in bytes."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert found is not None
    return 1024 * int(found.group(1))


if __name__ == "__main__":
    main()
