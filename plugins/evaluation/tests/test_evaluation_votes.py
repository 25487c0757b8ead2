import itertools
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder_evaluation.votes import majority_correct, majority_curve

votes = st.lists(
    st.one_of(st.just((None, False)), st.tuples(st.sampled_from("abc"), st.just(False)), st.just(("right", True))),
    min_size=1,
    max_size=8,
)


def winner_is_correct(ballot):
    counts = {}
    for answer, is_correct in ballot:
        if is_correct or answer is not None:
            counts["right" if is_correct else answer] = counts.get("right" if is_correct else answer, 0) + 1
    winners = [answer for answer, count in counts.items() if count == max(counts.values())]
    return fmean(answer == "right" for answer in winners) if winners else 0.0


def test_the_most_frequent_answer_is_the_majoritys():
    assert majority_correct([("5", False), ("4", True), ("4", True), ("6", False)]) == 1.0
    assert majority_correct([("5", False), ("5", False), ("4", True)]) == 0.0


def test_a_tie_is_broken_by_expectation():
    assert majority_correct([("5", False), ("4", True)]) == 0.5
    assert majority_correct([("5", False), ("4", True), ("6", False)]) == pytest.approx(1 / 3)


def test_correct_answers_in_different_words_are_one_answer():
    assert majority_correct([("1/2", True), ("0.5", True), ("2", False), ("2", False), ("0.50", True)]) == 1.0


def test_no_answer_is_no_vote():
    assert majority_correct([(None, False), (None, False), ("4", True)]) == 1.0
    assert majority_correct([(None, False)]) == 0.0


@settings(max_examples=200)
@given(votes)
def test_the_curve_is_the_mean_over_all_choices_of_k_votes(ballot):
    for k, chance in enumerate(majority_curve(ballot), start=1):
        expected = fmean(winner_is_correct(chosen) for chosen in itertools.combinations(ballot, k))
        assert chance == pytest.approx(expected, abs=1e-12)


@given(votes)
def test_the_curve_begins_at_pass_at_1(ballot):
    assert majority_curve(ballot)[0] == pytest.approx(fmean(is_correct for _, is_correct in ballot))


def test_voting_helps_when_the_right_answer_is_the_most_frequent_one():
    curve = majority_curve([("right", True)] * 40 + [("a", False)] * 30 + [("b", False)] * 30)
    assert curve[0] == pytest.approx(0.4)
    assert curve[2] == pytest.approx(0.426, abs=0.005)
    assert curve[4] == pytest.approx(0.447, abs=0.01)
    assert curve[-1] == 1.0


def test_voting_cannot_mend_what_is_mostly_wrong():
    curve = majority_curve([("right", True)] * 3 + [("a", False)] * 13)
    assert curve[0] > curve[4] > curve[-1] == 0.0


def test_sixty_four_votes_for_as_many_answers_are_counted_at_once():
    curve = majority_curve([(str(number), False) for number in range(40)] + [("right", True)] * 24)
    assert curve[0] == pytest.approx(24 / 64)
    assert curve[-1] == 1.0
