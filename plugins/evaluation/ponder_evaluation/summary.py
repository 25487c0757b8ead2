"""From samples to the numbers of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Final

from ponder_evaluation.breakdown import by_problem, natural_order
from ponder_evaluation.estimates import interval, pass_at_k, percentile
from ponder_evaluation.samples import Sample
from ponder_evaluation.votes import majority_correct

__all__ = ["group_metrics", "natural_order", "summarise"]

PERCENTILES: Final = (10, 50, 90)
DIFFICULTY: Final = "difficulty"
MOST_VALUES: Final = 24
"""A group with more values than this is no group but a name: it is kept out of the metrics."""


def summarise(samples: Sequence[Sample], pass_at: Sequence[int]) -> dict[str, float]:
    """The metrics of an evaluation in which every problem has the same number of samples.

    `response_length` counts tokens, `reflection_rate` reflective words per response, `unscored` the samples whose correctness
    nobody could tell, which count as wrong; the others are shares of samples, and `language_consistency` one of words.
    """
    problems = by_problem(samples)
    return {
        **_correctness(list(problems.values()), pass_at),
        "response_length": fmean(sample.length for sample in samples),
        **_manners(samples),
        **_percentiles(samples),
    }


def group_metrics(groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, float]:
    """`pass@1/<difficulty>` and `response_length/<difficulty>`; of other groups with several values `pass@1/<group>/<value>`."""
    metrics: dict[str, float] = {}
    for row in _few(groups.get(DIFFICULTY, ())):
        metrics[f"pass@1/{row['value']}"] = row["pass@1"]
        metrics[f"response_length/{row['value']}"] = row["response_length"]
    for name, rows in groups.items():
        if name != DIFFICULTY and len(rows) > 1:
            metrics |= {f"pass@1/{name}/{row['value']}": row["pass@1"] for row in _few(rows)}
    return metrics


def _few(rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    return rows if len(rows) <= MOST_VALUES else ()


def _correctness(problems: Sequence[Sequence[Sample]], pass_at: Sequence[int]) -> dict[str, float]:
    means = [fmean(sample.correct for sample in samples) for samples in problems]
    low, high = interval(means)
    metrics = {"pass@1": fmean(means), "pass@1_low": low, "pass@1_high": high}
    for k in pass_at:
        metrics[f"pass@{k}"] = fmean(
            pass_at_k(len(samples), sum(sample.correct for sample in samples), k) for samples in problems
        )
    votes = [[(sample.vote, sample.correct) for sample in samples] for samples in problems]
    metrics[f"cons@{len(problems[0])}"] = fmean(majority_correct(ballot) for ballot in votes)
    return metrics


def _percentiles(samples: Sequence[Sample]) -> dict[str, float]:
    lengths = [sample.length for sample in samples]
    return {f"response_length_p{percent}": percentile(lengths, percent) for percent in PERCENTILES}


def _manners(samples: Sequence[Sample]) -> dict[str, float]:
    languages = [sample.language for sample in samples if sample.language is not None]
    return {
        "format_rate": fmean(sample.formatted for sample in samples),
        **({"language_consistency": fmean(languages)} if languages else {}),
        "mixed_languages": fmean(sample.mixed for sample in samples),
        "readable_rate": fmean(sample.readable for sample in samples),
        "reflection_rate": fmean(sample.reflections for sample in samples),
        "truncated": fmean(sample.truncated for sample in samples),
        "unscored": float(sum(not sample.scored for sample in samples)),
    }
