"""Torch-free components whose every number is a function of the recipe: what the tests of the run machinery run."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ponder import EARLIER, Completion, Component, Example, RewardConfig, StageResult, hookimpl, ref, refs
from ponder.randomness import derive_seed

events: list[str] = []


@dataclass(frozen=True, kw_only=True)
class ToyPolicyConfig:
    """A policy that is one number."""

    value: float = 1.0
    """The number it begins with."""


class ToyPolicy:
    model: Any = None
    tokenizer: Any = None

    def __init__(self, config: ToyPolicyConfig, checkpoint: Path | None = None, seed: int = 0) -> None:
        self.version = 0
        self.value = config.value + seed % 7 if checkpoint is None else float(_read(checkpoint / "policy.json"))

    def save(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        (directory / "policy.json").write_text(json.dumps(self.value))


@dataclass(frozen=True, kw_only=True)
class LinesConfig:
    """Problems from a file."""

    path: Path
    """A problem a line."""


class Lines:
    def __init__(self, config: LinesConfig) -> None:
        self._path = config.path

    def examples(self) -> Iterable[Example]:
        return [Example(line) for line in self._path.read_text().splitlines()]


@dataclass(frozen=True, kw_only=True)
class CountConfig:
    """Adds pseudo-random numbers to a policy."""

    policy: str = ref("policy")
    """Where it begins."""
    task: str | None = ref("task", default=None)
    """Problems whose lengths are added."""
    steps: int = 4
    """How many numbers."""
    scale: float = 1.0
    """What each is multiplied by."""
    every: int | None = 1
    """Steps between checkpoints."""
    signal_at: int = -1
    """The step in which the process gets a signal, the first time."""
    signal_name: str = "SIGINT"
    """Which one."""
    signals: int = 1
    """How many of them."""

    def plan(self) -> str:
        return f"{self.steps} numbers"


@dataclass
class CountState:
    total: float = 0.0

    def save(self, directory: Path) -> None:
        (directory / "total.json").write_text(json.dumps(self.total))
        (directory / "ballast.bin").write_bytes(b"ballast" * 100)

    def load(self, directory: Path) -> None:
        self.total = _read(directory / "total.json")


class Count:
    def __init__(self, config: CountConfig) -> None:
        self._config = config

    def run(self, context: Any) -> StageResult:
        policy = context.policy(self._config.policy)
        if self._config.task:
            policy.value += sum(len(example.prompt) for example in context.task(self._config.task).examples())
        context.log({"begins_at": policy.value})
        state = CountState(policy.value)
        for step in context.steps(self._config.steps, state, checkpoint_every=self._config.every):
            events.append(f"{context.name} {step}")
            state.total += self._config.scale * (derive_seed(context.seed, step) % 1000) / 1000
            context.log({"total": state.total, "odd": float("nan") if step % 2 else 1.0}, step)
            context.timing({"seconds": 0.25}, step)
            self._interrupt(context, step)
        policy.value = state.total
        policy.save(context.directory / "policy")
        return StageResult(policy=context.directory / "policy", metrics={"total": state.total})

    def _interrupt(self, context: Any, step: int) -> None:
        # Beside `out`, so that it is not published and only the first process is interrupted.
        mark = context.directory.parent / "interrupted"
        if step == self._config.signal_at and not mark.exists():
            mark.touch()
            for _ in range(self._config.signals):
                os.kill(os.getpid(), getattr(signal, self._config.signal_name))


@dataclass(frozen=True, kw_only=True)
class CollectConfig:
    """Writes what a policy says to a file, each answer journalled."""

    policy: str = ref("policy")
    """Who answers."""
    answers: int = 3
    """How many lines."""


class Collect:
    def __init__(self, config: CollectConfig) -> None:
        self._config = config

    def run(self, context: Any) -> StageResult:
        policy, journal = context.policy(self._config.policy), context.journal()
        lines = []
        for step in context.steps(self._config.answers):
            answer = journal.get(str(step))
            if answer is None:
                events.append(f"{context.name} {step}")
                answer = f"answer {step}: {policy.value}"
                journal.append(str(step), answer)
            lines.append(answer)
            context.log({"length": len(answer)}, step)
        context.log({"answers": len(lines)})
        path = context.directory / "answers.jsonl"
        path.write_text("\n".join(lines) + "\n")
        context.artifact(path)
        return StageResult(task=path, metrics={"answers": len(lines)})


@dataclass(frozen=True, kw_only=True)
class FailConfig:
    """Fails."""

    how: str = "value"
    """Which way."""
    after: list[str] = refs("stage", default=EARLIER)
    """The stages before it."""


class Fail:
    def __init__(self, config: FailConfig) -> None:
        self._how = config.how

    def run(self, context: Any) -> Any:
        from ponder.errors import InputError

        errors: dict[str, BaseException] = {
            "value": ValueError("the third number is not prime"),
            "input": InputError("data.jsonl:3: not JSON"),
            "exit": SystemExit(0),
            "full": OSError(28, "No space left on device", str(context.directory / "big")),
            "safetensors": RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
            "forbidden": PermissionError(13, "Permission denied", str(context.directory / "big")),
            "forbidden elsewhere": PermissionError(13, "Permission denied", "data.jsonl"),
            "interrupt": KeyboardInterrupt(),
        }
        if self._how in errors:
            raise errors[self._how]
        outside = StageResult(policy=context.directory.parent.parent)
        return {"nothing": None, "outside": outside}[self._how]


@dataclass(frozen=True, kw_only=True)
class MeetConfig:
    """Is done once the other stage has begun."""

    folder: Path
    """Where both leave a mark."""
    other: str
    """The name of the other stage."""
    policy: str = ref("policy")
    """Not looked at."""
    dies: bool = False
    """Whether its process is killed the first time, when both have begun."""


class Meet:
    def __init__(self, config: MeetConfig) -> None:
        self._config = config

    def run(self, context: Any) -> StageResult:
        folder = self._config.folder
        (folder / context.name).write_text(str(os.getpid()))
        deadline = time.monotonic() + 30
        while not (folder / self._config.other).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        mark = folder / f"{context.name} died"
        if self._config.dies and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return StageResult(metrics={"met": float((folder / self._config.other).exists())})


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Writes a page."""

    stages: list[str] = refs("stage", default=EARLIER)
    """The stages it is about."""


class Report:
    def __init__(self, config: ReportConfig) -> None:
        self._stages = config.stages

    def run(self, context: Any) -> StageResult:
        lines = [f"{name} {context.stage(name).result.metrics}" for name in self._stages]
        (context.directory / "report.html").write_text("\n".join(lines))
        return StageResult()


@dataclass(frozen=True, kw_only=True)
class SameConfig(RewardConfig):
    """The same score for everybody."""

    score: float = 1.0
    """The score."""


class Same:
    def __init__(self, config: SameConfig) -> None:
        self._score = config.score

    def __call__(self, example: Example, completion: Any) -> float:
        return self._score


@dataclass(frozen=True, kw_only=True)
class ParrotConfig:
    """Repeats what it is asked."""

    temperature: float = 1.0
    """Shown in the answer."""
    max_new_tokens: int = 16
    """Longer answers are cut off."""


class Parrot:
    def __init__(self, config: ParrotConfig) -> None:
        self._config = config

    def sample(self, policy: Any, examples: Any, n: int, seed: int) -> list[list[Completion]]:
        return [[self._answer(policy, example)] * n for example in examples]

    def _answer(self, policy: Any, example: Example) -> Completion:
        asked = example.prompt if isinstance(example.prompt, str) else example.prompt[-1]["content"]
        text = (
            f"<think>It says {asked[-21:]}</think>\n<answer>{policy.value:.3f} at {self._config.temperature}</answer>"
        )
        return Completion(text, finish_reason="length" if self._config.max_new_tokens < 4 else "stop")


@dataclass(frozen=True, kw_only=True)
class TrackerConfig:
    """Keeps its calls, or misbehaves."""

    fault: str = ""
    """What it does instead: raise or hang."""


calls: list[tuple[Any, ...]] = []


class ToyTracker:
    def __init__(self, config: TrackerConfig, runs: Path) -> None:
        self._fault = config.fault

    def start(self, name: str, params: Any) -> None:
        self._call("start", name)

    def log(self, metrics: Any, step: int | None = None) -> None:
        self._call("log", dict(metrics), step)

    def artifact(self, path: Path) -> None:
        self._call("artifact", path.name, path.read_text())

    def finish(self, status: str) -> None:
        self._call("finish", status)

    def _call(self, *call: Any) -> None:
        if self._fault == "raise":
            raise ConnectionError("connection refused")
        if self._fault == "hang":
            threading.Event().wait()
        calls.append(call)


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


@hookimpl
def ponder_policies() -> Iterator[Component[Any]]:
    yield Component("toy", ToyPolicyConfig, ToyPolicy)


@hookimpl
def ponder_tasks() -> Iterator[Component[Any]]:
    yield Component("jsonl", LinesConfig, Lines)


@hookimpl
def ponder_rewards() -> Iterator[Component[Any]]:
    yield Component("same", SameConfig, Same)


@hookimpl
def ponder_samplers() -> Iterator[Component[Any]]:
    yield Component("fast", ParrotConfig, Parrot)


@hookimpl
def ponder_stages() -> Iterator[Component[Any]]:
    yield Component("count", CountConfig, Count)
    yield Component("collect", CollectConfig, Collect)
    yield Component("fail", FailConfig, Fail)
    yield Component("meet", MeetConfig, Meet)
    yield Component("report", ReportConfig, Report)


@hookimpl
def ponder_trackers() -> Iterator[Component[Any]]:
    yield Component("toy", TrackerConfig, ToyTracker)


@hookimpl
def ponder_stage_started(context: Any) -> None:
    events.append(f"started {context.name}")


@hookimpl
def ponder_stage_finished(context: Any, result: StageResult) -> None:
    events.append(f"finished {context.name}")
