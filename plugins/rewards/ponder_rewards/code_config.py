"""The options of reward `code`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ponder import RewardConfig


@dataclass(frozen=True, kw_only=True)
class CodeConfig(RewardConfig):
    """Unit tests on the Python program in a response, run where it can do no harm."""

    tests: str = "tests"
    """The key of an example's metadata with its tests: a list of mappings with `input` and `output` for programs that read and
    print, or of texts with `assert`s for functions (for one with `def check(candidate)`, `entry_point` names the function).
    Asserts may be in loops over constants, under constant conditions, and in functions that are tests or are called."""
    credit: Literal["all", "share"] = "all"
    """`all`: 1 when every test passes, else 0; `share`: the share of tests that pass."""
    allow: Literal["limits", "system_calls", "files", "namespaces"] = "namespaces"
    """The least confinement of programs to accept; with less the run is refused. `limits` (memory, processor time): harmless
    programs alone; `system_calls`: also no network, no processes, no writing; `files`: also nothing to read but the interpreter;
    `namespaces`: also namespaces of their own. As much as the machine can is always used."""
    cpu_seconds: float = 2.0
    """Processor time of one test."""
    wall_seconds: float = 30.0
    """Time of one test on the clock; ends programs that sleep. Far above `cpu_seconds`, so that a busy machine changes no verdict."""
    memory_mb: int = 256
    """Memory of one test, in addition to what the interpreter starts with."""
    output_kb: int = 256
    """What a program may print, in kilobytes; one that prints more fails the test."""
    workers: int | None = None
    """Programs that run at a time; none stands for one per core, at most 8."""

    def __post_init__(self) -> None:
        for name in ("cpu_seconds", "wall_seconds"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        for name in ("memory_mb", "output_kb"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers must be at least 1, not {self.workers}")
