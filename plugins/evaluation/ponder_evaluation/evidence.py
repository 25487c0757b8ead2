"""Whether a recipe shows what the paper claims, over several runs of it with different seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

from ponder_evaluation.comparison import LABELS, Evaluation, Measure, difference, read_evaluation
from ponder_evaluation.estimates import TINY, Z_95, interval

if TYPE_CHECKING:
    from ponder.context import FinishedStage

Verdict: TypeAlias = Literal["yes", "not clear", "on average", "no", "not measured"]
Exams: TypeAlias = Mapping[tuple[str, str], Evaluation]
"""A run's zero-shot evaluations by (policy, task)."""

VERDICTS: Final[tuple[Verdict, ...]] = ("not measured", "no", "on average", "not clear", "yes")
"""From worst to best. "on average": the mean of the seeds shows it, and not every one of them; "not clear": every seed shows it, and the
interval of some gain holds zero."""
_T_95: Final = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)
"""Student's t at 97.5 % for 1 to 10 degrees of freedom."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run shows: a number with its 95 % interval over problems, and the bound it is held against."""

    value: float
    low: float | None
    high: float | None
    bound: float


class Check(Protocol):
    """A number of a run, and what it has to be."""

    @property
    def label(self) -> str:
        """What is compared, in a few words."""
        ...

    def outcome(self, exams: Exams) -> Outcome | None:
        """The number in a run; None when the run did not measure it."""
        ...

    def is_met(self, value: float, bound: float) -> bool:
        """Whether a value is what it has to be."""
        ...


@dataclass(frozen=True, slots=True)
class _Level:
    """What checks of one model against a bound have in common."""

    model: str
    task: str
    measure: Measure
    bound: float

    def outcome(self, exams: Exams) -> Outcome | None:
        """See `Check`."""
        return _level(exams.get((self.model, self.task)), self.measure, self.bound)


@dataclass(frozen=True, slots=True)
class AtLeast(_Level):
    """A model's mean reaches a bound."""

    @property
    def label(self) -> str:
        """See `Check`."""
        return f"{self.model}: {LABELS[self.measure]} at least {self.bound:g} on {self.task}"

    def is_met(self, value: float, bound: float) -> bool:
        """See `Check`."""
        return value >= bound


@dataclass(frozen=True, slots=True)
class Below(_Level):
    """A model's mean stays below a bound."""

    @property
    def label(self) -> str:
        """See `Check`."""
        return f"{self.model}: {LABELS[self.measure]} below {self.bound:g} on {self.task}"

    def is_met(self, value: float, bound: float) -> bool:
        """See `Check`."""
        return value < bound


@dataclass(frozen=True, slots=True)
class Gain:
    """A model is above another on the same problems."""

    model: str
    over: str
    task: str
    measure: Measure

    @property
    def label(self) -> str:
        """See `Check`."""
        return f"{self.model} over {self.over}: {LABELS[self.measure]} on {self.task}"

    def outcome(self, exams: Exams) -> Outcome | None:
        """See `Check`."""
        return _difference(exams, self.over, self.model, self.task, self.measure, margin=0.0)

    def is_met(self, value: float, bound: float) -> bool:
        """See `Check`."""
        return value > bound


@dataclass(frozen=True, slots=True)
class NotBelow:
    """A model is not below another by more than half of the other's own 95 % interval."""

    model: str
    than: str
    task: str
    measure: Measure

    @property
    def label(self) -> str:
        """See `Check`."""
        return f"{self.model} not below {self.than} minus its interval: {LABELS[self.measure]} on {self.task}"

    def outcome(self, exams: Exams) -> Outcome | None:
        """See `Check`."""
        other = _level(exams.get((self.than, self.task)), self.measure, 0.0)
        if other is None or other.low is None:
            return None
        return _difference(exams, self.than, self.model, self.task, self.measure, margin=other.value - other.low)

    def is_met(self, value: float, bound: float) -> bool:
        """See `Check`."""
        return value >= bound


@dataclass(frozen=True, slots=True)
class Claim:
    """What a recipe is to show: all of its checks, any of them, or nothing in particular (they are only shown)."""

    text: str
    checks: Sequence[Check]
    needs: Literal["all", "any", "nothing"] = "all"


@dataclass(frozen=True, slots=True)
class Finding:
    """A check over all runs."""

    check: Check
    outcomes: Sequence[Outcome | None]
    """One for each run."""
    mean: float | None
    low: float | None
    """The 95 % interval of the mean: Student's t over runs; of a single run, or of runs that agree to the last digit, that over
    problems."""
    high: float | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class ClaimFinding:
    """A claim over all runs."""

    claim: Claim
    findings: Sequence[Finding] = field(default_factory=list)
    verdict: Verdict | None = None
    """None when the claim needs nothing."""


def r1_claims(reasoning: str = "held_out", general: str = "held_out_instructions") -> tuple[Claim, ...]:
    """What `r1_mini` is to show, for stages that are named as there; the arguments name the two tasks of the evaluations."""
    return (
        Claim(
            "R1-Zero is hard to read: its languages mix or its format is lost",
            (Below("zero", reasoning, "consistency", 0.9), Below("zero", reasoning, "readable", 0.9)),
            needs="any",
        ),
        Claim(
            "R1 is readable and no worse at reasoning than R1-Zero",
            (
                AtLeast("r1", reasoning, "consistency", 0.98),
                AtLeast("r1", reasoning, "formatted", 0.99),
                NotBelow("r1", "zero", reasoning, "correct"),
            ),
        ),
        Claim(
            "The cold start lifts format and language consistency",
            (
                Gain("cold_start", "base", reasoning, "formatted"),
                Gain("cold_start", "zero", reasoning, "consistency"),
            ),
        ),
        Claim(
            "Reasoning RL lifts accuracy over the cold start", (Gain("reasoning", "cold_start", reasoning, "correct"),)
        ),
        Claim("The curated SFT adds the general skills", (Gain("sft", "reasoning", general, "correct"),)),
        Claim(
            "The last RL lifts the general rewards without losing reasoning",
            (Gain("r1", "sft", general, "correct"), NotBelow("r1", "sft", reasoning, "correct")),
        ),
        Claim(
            "Both distilled students beat the student of RL alone at equal compute",
            tuple(Gain(student, "rl_qwen", reasoning, "correct") for student in ("distilled_qwen", "distilled_llama")),
        ),
        Claim(
            "The same against RL with ten times the compute (no claim)",
            tuple(
                Gain(student, "rl_qwen_10x", reasoning, "correct") for student in ("distilled_qwen", "distilled_llama")
            ),
            needs="nothing",
        ),
    )


def read_exams(finished: Sequence[FinishedStage]) -> dict[tuple[str, str], Evaluation]:
    """The zero-shot evaluations of a run; of several of the same policy on the same task the first."""
    exams: dict[tuple[str, str], Evaluation] = {}
    for stage in finished:
        if stage.options.get("shots") or not (stage.directory / "evaluation.json").is_file():
            continue
        record: Any = json.loads((stage.directory / "evaluation.json").read_text(encoding="utf-8"))
        evaluation = read_evaluation(stage.name, record)
        if evaluation is not None:
            exams.setdefault((evaluation.subject, evaluation.task), evaluation)
    return exams


def examine(claims: Sequence[Claim], runs: Sequence[Exams]) -> list[ClaimFinding]:
    """Each claim with what every run shows of it; needs at least one run."""
    return [_examined(claim, runs) for claim in claims]


def mean_interval(outcomes: Sequence[Outcome]) -> tuple[float, float | None, float | None]:
    """The mean over runs and its 95 % interval; see `Finding`."""
    values = [outcome.value for outcome in outcomes]
    mean = fmean(values)
    if len(values) > 1 and max(values) - min(values) > TINY:
        half = _t_quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values))
        return mean, mean - half, mean + half
    lows, highs = [outcome.low for outcome in outcomes], [outcome.high for outcome in outcomes]
    return mean, _mean(lows), _mean(highs)


def _examined(claim: Claim, runs: Sequence[Exams]) -> ClaimFinding:
    findings = [_finding(check, runs) for check in claim.checks]
    if claim.needs == "nothing":
        return ClaimFinding(claim, findings)
    verdicts = sorted((finding.verdict for finding in findings), key=VERDICTS.index)
    return ClaimFinding(claim, findings, verdicts[0] if claim.needs == "all" else verdicts[-1])


def _finding(check: Check, runs: Sequence[Exams]) -> Finding:
    outcomes = [check.outcome(exams) for exams in runs]
    known = [outcome for outcome in outcomes if outcome is not None]
    if len(known) < len(outcomes):
        return Finding(check, outcomes, None, None, None, "not measured")
    mean, low, high = mean_interval(known)
    return Finding(check, outcomes, mean, low, high, _verdict(check, known, mean))


def _verdict(check: Check, known: Sequence[Outcome], mean: float) -> Verdict:
    if all(check.is_met(outcome.value, outcome.bound) for outcome in known):
        # Only a gain has to be more than chance: other bounds leave room for it themselves.
        is_chance = isinstance(check, Gain) and any(one.low is not None and one.low <= one.bound for one in known)
        return "not clear" if is_chance else "yes"
    return "on average" if check.is_met(mean, fmean(outcome.bound for outcome in known)) else "no"


def _level(exam: Evaluation | None, measure: Measure, bound: float) -> Outcome | None:
    values = [] if exam is None else list(_values(exam, measure))
    return Outcome(fmean(values), *interval(values), bound) if values else None


def _values(exam: Evaluation, measure: Measure) -> Iterator[float]:
    for problem in exam.problems.values():
        value = problem[measure]
        if value is not None:
            yield value


def _difference(exams: Exams, first: str, second: str, task: str, measure: Measure, *, margin: float) -> Outcome | None:
    before, after = exams.get((first, task)), exams.get((second, task))
    found = None if before is None or after is None else difference(before, after, measure)
    return None if found is None else Outcome(found.difference, found.low, found.high, -margin)


def _t_quantile(degrees: int) -> float:
    if degrees <= len(_T_95):
        return _T_95[degrees - 1]
    # Cornish and Fisher's expansion, right to three digits from ten degrees of freedom on.
    return Z_95 + (Z_95**3 + Z_95) / (4 * degrees) + (5 * Z_95**5 + 16 * Z_95**3 + 3 * Z_95) / (96 * degrees**2)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None
