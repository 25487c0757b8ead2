import json
import math
from statistics import fmean

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ponder_evaluation.comparison import (
    MEASURES,
    as_json,
    comparable,
    compare,
    difference,
    read_evaluation,
)
from ponder_evaluation.significance import FLIPS, holm, paired_interval, sign_flip_p_value

differences = st.lists(st.sampled_from([-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=25)


def evaluation(name, correct, *, samples=4, keys=None, **fields):
    """An evaluation in which problem number i has `correct[i]` correct samples."""
    problems = [
        {
            "problem": number,
            "key": key,
            "samples": samples,
            "correct": count,
            "formatted": samples,
            "readable": count,
            "consistency": None if count == 0 else count / samples,
            "length": 10.0 + count,
            **fields,
        }
        for number, (key, count) in enumerate(zip(keys or map(str, range(len(correct))), correct, strict=True))
    ]
    record = {"options": {"policy": f"{name} policy", "task": "exam"}, "metrics": {"pass@1": 0.5}, "problems": problems}
    return read_evaluation(name, record)


def scipys(changes):
    """The exact paired permutation test of scipy."""
    return stats.permutation_test(
        (numpy.array(changes),), numpy.sum, permutation_type="samples", n_resamples=math.inf, alternative="two-sided"
    ).pvalue


def test_five_problems_won_of_five_have_a_p_value_of_one_in_sixteen():
    assert sign_flip_p_value([1.0, 0.5, 0.25, 1.0, 0.75]) == 2 / 32
    assert sign_flip_p_value([1.0, 1.0, 1.0, 1.0, -1.0]) == pytest.approx(12 / 32)


@pytest.mark.parametrize("changes", [[0.5, 0.25, -0.75, 1.0, 0.25, 0.0], [0.1, 0.2, 0.3, -0.05, 0.4, 0.1, 0.2, 0.15]])
def test_few_pairs_are_counted_exactly_as_scipy_does(changes):
    assert sign_flip_p_value(changes) == pytest.approx(scipys(changes))


def test_many_pairs_come_close_to_the_exact_value():
    changes = [0.5, 0.25, -0.25, 0.75, 0.25, -0.5, 0.25, 0.5, -0.25, 0.25, 0.0, 0.5, -0.5, 0.25, 0.25, -0.25, 0.5]
    assert sum(change != 0 for change in changes) > 14
    assert sign_flip_p_value(changes) == pytest.approx(scipys(changes), abs=0.01)


def test_p_is_never_nothing():
    assert sign_flip_p_value([1.0] * 200) == 1 / (FLIPS + 1)


@given(differences)
def test_p_does_not_hang_on_the_direction_nor_on_problems_without_a_difference(changes):
    p = sign_flip_p_value(changes)
    assert 0 < p <= 1
    assert sign_flip_p_value([-change for change in changes]) == p
    assert sign_flip_p_value([*changes, 0.0, 0.0]) == p


@given(differences)
def test_the_paired_interval_holds_the_mean_and_mirrors(changes):
    low, high = paired_interval(changes, is_share=True)
    assert -1 <= low <= fmean(changes) + 1e-9 and fmean(changes) - 1e-9 <= high <= 1
    mirrored = paired_interval([-change for change in changes], is_share=True)
    assert (-mirrored[1], -mirrored[0]) == pytest.approx((low, high))


def test_the_paired_interval_is_the_normal_one_over_problems():
    changes = [0.5, 0.25, -0.25, 0.5]
    half = stats.norm.ppf(0.975) * stats.sem(changes)
    assert paired_interval(changes, is_share=False) == pytest.approx((0.25 - half, 0.25 + half))


def test_agreement_on_a_few_problems_is_no_proof_of_equality():
    low, high = paired_interval([0.0] * 10, is_share=True)
    assert (low, high) == pytest.approx((-0.2775, 0.2775), abs=1e-4)
    assert paired_interval([0.0] * 10, is_share=False) is None


def test_holm_has_the_worked_values():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.9, "b": 0.9}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


@given(st.dictionaries(st.integers(), st.floats(0, 1), max_size=8))
def test_holm_keeps_the_order_and_never_lowers(p_values):
    adjusted = holm(p_values)
    assert all(p_values[key] <= adjusted[key] <= 1 for key in p_values)
    ordered = sorted(p_values, key=p_values.get)
    assert [adjusted[key] for key in ordered] == sorted(adjusted.values())


def test_models_and_pairs_stand_in_one_comparison():
    made = compare([evaluation("first", [0, 2, 4, 0]), evaluation("second", [4, 4, 4, 2])])
    first, second = made.models
    assert (first.subject, first.problems) == ("first policy", 4)
    assert first.estimates["correct"].mean == 0.375
    assert second.estimates["length"].mean == 13.5
    pairs = {pair.measure: pair for pair in made.pairs}
    assert set(pairs) == set(MEASURES)
    assert pairs["correct"].difference == 0.5
    assert (pairs["correct"].better, pairs["correct"].worse, pairs["correct"].problems) == (3, 0, 4)
    assert pairs["correct"].p_value == 2 / 8
    assert pairs["formatted"].p_value == 1.0
    assert pairs["consistency"].problems == 2


def test_p_values_are_corrected_for_all_pairs_of_a_measure():
    counts = [[0, 0, 1, 0, 0, 2], [4, 3, 4, 4, 2, 4], [4, 4, 4, 4, 4, 4]]
    made = compare([evaluation(str(number), row) for number, row in enumerate(counts)])
    pairs = [pair for pair in made.pairs if pair.measure == "correct"]
    assert [(pair.first, pair.second) for pair in pairs] == [("0", "1"), ("0", "2"), ("1", "2")]
    expected = holm({place: pair.p_value for place, pair in enumerate(pairs)})
    assert [pair.p_adjusted for pair in pairs] == list(expected.values())


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=16))
def test_a_difference_is_antisymmetric(counts):
    one, other = (evaluation(name, [row[place] for row in counts]) for place, name in enumerate(("one", "other")))
    there, back = difference(one, other, "correct"), difference(other, one, "correct")
    assert there.difference == pytest.approx(-back.difference)
    assert there.p_value == back.p_value
    assert (there.better, there.worse) == (back.worse, back.better)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=16))
def test_a_model_does_not_differ_from_itself(counts):
    pair = difference(evaluation("one", counts), evaluation("two", counts), "correct")
    assert (pair.difference, pair.p_value, pair.better, pair.worse) == (0.0, 1.0, 0, 0)
    assert pair.low < 0 < pair.high


def test_only_shared_problems_are_paired():
    one = evaluation("one", [4, 0], keys=["a", "b"])
    other = evaluation("other", [4, 4], keys=["b", "c"])
    pair = difference(one, other, "correct")
    assert (pair.problems, pair.difference) == (1, 1.0)
    assert difference(one, evaluation("third", [1], keys=["z"]), "correct") is None


def test_evaluations_are_grouped_by_the_problems_they_share():
    math_exams = [evaluation("a", [1, 2, 3]), evaluation("b", [1, 2])]
    general = evaluation("c", [1, 2], keys=["x", "y"])
    assert comparable([math_exams[0], general, math_exams[1]]) == [math_exams, [general]]


def test_a_problem_that_a_task_holds_twice_counts_once():
    made = evaluation("one", [4, 2, 0], keys=["a", "a", "b"])
    assert made.problems["a"]["correct"] == 0.75
    assert len(made.problems) == 2


@pytest.mark.parametrize("record", [{}, {"problems": []}, {"problems": [{"problem": 0, "samples": 4, "correct": 2}]}])
def test_an_older_or_empty_record_is_no_evaluation(record):
    assert read_evaluation("old", record) is None


def test_a_comparison_is_plain_data():
    made = as_json(compare([evaluation("first", [0, 2]), evaluation("second", [4, 4])]))
    assert json.loads(json.dumps(made))["pairs"][0]["p_value"] == made["pairs"][0]["p_value"]
    assert made["pairs"][0]["first"] == "first"
    assert made["models"][1]["estimates"]["correct"]["mean"] == 1.0
