"""Reward `code`."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ponder import Rollout
from ponder.confinement import MISSING, Tier
from ponder.errors import InputError
from ponder_rewards.code_config import CodeConfig
from ponder_rewards.code_tests import read_tests
from ponder_rewards.jail import Jail, reached_tier
from ponder_rewards.program_tests import ProgramTest

_FENCE = re.compile(
    r"^(?P<indent>[ \t]*(?P<marker>(?:[-*+]|\d{1,9}[.)])[ \t]+)?)(?P<marks>`{3,}|~{3,})[ \t]*(?P<label>[\w+-]*)[^\n`]*$",
    re.MULTILINE,
)
_PYTHON = ("py", "python", "python3")
_LONGEST = 1 << 16
_MOST_TIMEOUTS = 3


class Code:
    """Unit tests on a program: 1.0 when it passes all of the example's, else 0.0, or the share it passes, in [0, 1].

    The program is the last fenced block labelled Python in the response, or, where none is, the last without a label; a
    response without one scores 0. Tests are in the example's metadata: mappings with the standard `input` and the expected
    `output`, or texts with `assert`s, each at the top a test, as is a loop or the like with all that it asserts. Each runs in an
    interpreter of its own, with the standard library alone, in a fresh directory in which nothing can be written, without
    network or other processes, within limits of time, memory and output. After three tests that take too long the others count
    as failed. Abstains when the example has no tests. A verdict depends on processor time, not on how busy the machine is,
    unless a program sleeps. Source: DeepSeek-R1, section 2.2.2 (a compiler and predefined tests).

    Expected outputs stay outside, and so do constant sides of comparisons: literals, arithmetic, comprehensions and common
    built-in functions of them, and names and loop variables that stand for such. All else is computed beside the program, which
    can read and forge it: the verdict of an assertion that compares nothing (`assert isinstance(f(2), int)`), both sides of
    `f(2) == g(3)`, what the test's own helpers return, and constants on the side of a call (`f(2) - 4 == 0`; `abs(f(2) - 4) < 1e-6`
    and `math.isclose` are seen through).

    Raises InputError when programs cannot be confined as far as `allow` says, and for assertions that cannot be judged: under
    conditions or in loops that are not constant, in `try` or `with`, in functions whose value is used.
    """

    def __init__(self, config: CodeConfig) -> None:
        self._config = config
        self.tier: Tier = reached_tier()
        """How far programs are confined."""
        least = Tier[config.allow.upper()]
        if self.tier < least:
            raise InputError(
                f"reward 'code' runs programs that a model wrote, and this machine confines them to {self.tier.name.lower()!r}, "
                f"not to {config.allow!r}. Missing: {MISSING[Tier(self.tier + 1)]}. Run it where that is there, or accept less "
                f"with allow: {self.tier.name.lower()}"
            )
        self._jail = Jail(least, config.cpu_seconds, config.wall_seconds, config.memory_mb, config.output_kb)

    def score(self, rollouts: Sequence[Rollout]) -> list[float | None]:
        """See `BatchReward`."""
        workers = self._config.workers or min(8, os.cpu_count() or 1)
        tests = [self._tests(rollout) for rollout in rollouts]
        with ThreadPoolExecutor(workers, thread_name_prefix="ponder-code") as threads:
            return list(threads.map(self._scored, [rollout.completion.text for rollout in rollouts], tests))

    def _tests(self, rollout: Rollout) -> list[ProgramTest]:
        given = rollout.example.metadata.get(self._config.tests)
        entry_point = rollout.example.metadata.get("entry_point")
        where = f"reward 'code', metadata {self._config.tests!r} of an example"
        return [] if given is None else read_tests(given, entry_point, where)

    def _scored(self, text: str, tests: Sequence[ProgramTest]) -> float | None:
        if not tests:
            return None
        program = last_program(text)
        if program is None or len(program) > _LONGEST:
            return 0.0
        with tempfile.TemporaryDirectory(prefix="ponder-code-") as directory:
            Path(directory, "program.py").write_text(program, encoding="utf-8", errors="replace")
            passed = self._passed(Path(directory), tests)
        return passed / len(tests) if self._config.credit == "share" else float(passed == len(tests))

    def _passed(self, directory: Path, tests: Sequence[ProgramTest]) -> int:
        passed = timeouts = 0
        for test in tests:
            is_passed, is_timeout = test.run(self._jail, directory)
            passed += is_passed
            timeouts += is_timeout
            if timeouts == _MOST_TIMEOUTS or not (is_passed or self._config.credit == "share"):
                break
        return passed


def last_program(text: str) -> str | None:
    """The last fenced block that says it is Python, else the last that does not say what it is; None when there is neither."""
    labelled: str | None = None
    unlabelled: str | None = None
    opened: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if opened is None:
            opened = fence
        elif fence["marks"].startswith(opened["marks"]) and not (fence["label"] or fence["marker"]):
            block = text[opened.end() + 1 : fence.start()]
            if opened["label"].lower() in _PYTHON:
                labelled = _dedented(block, len(opened["indent"]))
            elif not opened["label"]:
                unlabelled = _dedented(block, len(opened["indent"]))
            opened = None
    return unlabelled if labelled is None else labelled


def _dedented(block: str, indent: int) -> str:
    """A block without the indentation of its fence; lines that are indented less lose what they have."""
    return "\n".join(line[min(indent, len(line) - len(line.lstrip(" \t"))) :] for line in block.split("\n"))
