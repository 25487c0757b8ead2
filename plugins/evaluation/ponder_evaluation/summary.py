"""From samples to the numbers of an evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean

from ponder_evaluation.estimates import interval, majority_correct, pass_at_k, percentile
from ponder_evaluation.samples import Sample

PERCENTILES = (10, 50, 90)
LONGEST_DIFFICULTY = 40


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
        **_by_difficulty(samples),
    }


def by_problem(samples: Iterable[Sample]) -> dict[int, list[Sample]]:
    """The samples of each problem, problems in order of first appearance."""
    groups: dict[int, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.problem, []).append(sample)
    return groups


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
        "reflection_rate": fmean(sample.reflections for sample in samples),
        "truncated": fmean(sample.truncated for sample in samples),
        "unscored": float(sum(not sample.scored for sample in samples)),
    }


def _by_difficulty(samples: Sequence[Sample]) -> dict[str, float]:
    metrics = {}
    for difficulty in sorted_difficulties(samples):
        chosen = [sample for sample in samples if sample.difficulty == difficulty]
        name = difficulty[:LONGEST_DIFFICULTY]
        metrics[f"pass@1/{name}"] = fmean(sample.correct for sample in chosen)
        metrics[f"response_length/{name}"] = fmean(sample.length for sample in chosen)
    return metrics


def sorted_difficulties(samples: Iterable[Sample]) -> list[str]:
    """The difficulties that occur, numbers in numerical order and before words."""
    return sorted({sample.difficulty for sample in samples if sample.difficulty is not None}, key=natural_order)


def natural_order(difficulty: str) -> tuple[bool, float, str]:
    """A sort key: numbers in numerical order, before words."""
    try:
        return False, float(difficulty), difficulty
    except ValueError:
        return True, 0.0, difficulty
