"""Stages `evaluate` (pass@k with confidence intervals, lengths, language, format) and `report` (one HTML page of a run)."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from ponder import EARLIER, Component, Stage, hookimpl, lazy, ref, refs
from ponder.doctor import Check
from ponder.text import FormatStyle, LanguageChoice
from ponder.workloads import Workload, examples_of

if TYPE_CHECKING:
    from ponder.recipe import Recipe

if TYPE_CHECKING:
    from ponder.doctor import Patient


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Answer every problem of a task several times and count, as R1 was measured: sampled, never greedy."""

    example: ClassVar[Mapping[str, object]] = {"samples": 4}

    policy: str | None = ref("policy", default=None)
    """The policy to evaluate, or the stage that made it; left out when the sampler has a model of its own, such as `openai`."""
    task: str = ref("task")
    """The problems: nothing may be trained on them. Each needs an answer if the first reward compares with one."""
    rewards: list[str] = refs("reward", default=["accuracy"])
    """The first decides what is correct (in a mixture the first whose `tasks` hold the problem's part); the mean of each is
    reported as `rewards/<name>`."""
    correct_at: float = 1.0
    """A completion is correct when the first reward gives it this score or more."""
    samples: int = 16
    """Completions per problem, k in pass@1 = mean over k."""
    sampler: str = ref("sampler", default={"type": "fast", "temperature": 0.6, "top_p": 0.95})
    """How completions are drawn."""
    max_examples: int | None = None
    """Take only the first so many problems; None takes all."""
    pass_at: list[int] = field(default_factory=list)
    """The k of the pass@k to report besides pass@1, each at most `samples`; empty means `samples` alone."""
    format: FormatStyle = "r1_zero"
    """What counts as well-formed: `r1_zero`, reasoning and answer in tags; `r1`, reasoning in tags, then a summary in none."""
    language: LanguageChoice = "en"
    """The language whose share of the words is `language_consistency`: en, zh, or that of each `question`."""
    groups: list[str] = field(default_factory=lambda: ["difficulty", "task", "kind", "wish"])
    """Keys of the problems' metadata by whose values the numbers are given once more; the question's language always is one."""
    shots: int = 0
    """Solved examples before each question; R1 is measured without any."""
    shots_from: str | None = ref("task", default=None)
    """The task they are from: its responses, or else its answers. For the same question they are always the same."""
    examples_per_chunk: int = 32
    """Problems sampled at once; an interrupted evaluation continues after the last whole chunk."""

    measures: ClassVar[frozenset[str]] = frozenset({"task"})

    def __post_init__(self) -> None:
        for name in ("samples", "examples_per_chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.max_examples is not None and self.max_examples < 1:
            raise ValueError("max_examples must be at least 1, or null for all")
        if any(not 1 <= k <= self.samples for k in self.pass_at):
            raise ValueError(f"pass_at must lie between 1 and samples ({self.samples}), not {self.pass_at}")
        if self.shots < 0:
            raise ValueError(f"shots must not be negative, and is {self.shots}")
        if (self.shots > 0) != (self.shots_from is not None):
            raise ValueError("shots and shots_from go together: how many solved examples, and of which task")

    def plan(self) -> str:
        """What is going to be sampled, in one sentence."""
        problems = "all problems" if self.max_examples is None else f"up to {self.max_examples} problems"
        shots = f", behind {self.shots} solved examples each" if self.shots else ""
        return (
            f"{problems} of {self.task} x {self.samples} samples, {self.examples_per_chunk} problems at a time{shots}"
        )

    def workload(self, recipe: Recipe) -> Workload:
        """The completions at their longest, for planning."""
        problems = self.max_examples or examples_of(recipe, self.task)
        return Workload.sampling(recipe, self.sampler, problems and problems * self.samples)


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """One self-contained HTML page about a run: its pipeline as a graph, models compared, the paper's claims checked, curves, answers."""

    stages: list[str] = refs("stage", default=EARLIER)
    """The stages to tell about; by default all that stand before this one."""
    title: str | None = None
    """The page's heading; None takes the recipe's name."""


@hookimpl
def ponder_stages() -> Iterator[Component[Stage]]:
    yield Component("evaluate", EvaluateConfig, lazy("ponder_evaluation.evaluate:EvaluateStage"))
    yield Component("report", ReportConfig, lazy("ponder_evaluation.report:ReportStage"))


@hookimpl
def ponder_checks() -> Iterator[Check]:
    yield Check(
        "contamination",
        "Are the problems of an exam kept out of what the policy learns from?",
        _examines,
        lazy("ponder_evaluation.checks:examine_contamination"),
    )
    yield Check(
        "correct_at",
        "Can a right answer score as much as a correct one must?",
        _asks_for_more,
        lazy("ponder_evaluation.checks:examine_correctness"),
    )


def _examines(patient: Patient) -> Hashable | None:
    if patient.entry.type != "evaluate":
        return None
    return (patient.names("policy", "policy"), patient.names("task", "task"))


def _asks_for_more(patient: Patient) -> Hashable | None:
    """Only where full marks are not enough: whether answers get these, the core's checks tell."""
    if patient.entry.type != "evaluate" or patient.entry.config.correct_at <= 1 or not patient.has("policy"):
        return None
    return (patient.names("reward", "rewards"), patient.names("task", "task"), patient.entry.config.correct_at)
