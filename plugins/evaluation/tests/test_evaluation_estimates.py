import itertools
from statistics import NormalDist, fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder_evaluation.estimates import interval, pass_at_k, percentile, share_interval

shares = st.floats(0, 1)
counted_shares = st.integers(0, 1000).map(lambda successes: successes / 1000)


@pytest.mark.parametrize(("k", "expected"), [(1, 0.25), (8, 0.9147458), (16, 0.9953844)])
def test_pass_at_k_has_the_published_values_for_16_correct_of_64(k, expected):
    assert pass_at_k(64, 16, k) == pytest.approx(expected, abs=1e-7)


@given(st.integers(1, 8), st.data())
def test_pass_at_k_is_the_share_of_all_choices_of_k_samples_with_a_correct_one(samples, data):
    correct = data.draw(st.integers(0, samples))
    k = data.draw(st.integers(1, samples))
    outcomes = [True] * correct + [False] * (samples - correct)
    choices = list(itertools.combinations(outcomes, k))
    assert pass_at_k(samples, correct, k) == pytest.approx(fmean(any(choice) for choice in choices))


def test_the_interval_is_the_normal_one_over_the_means_of_problems():
    low, high = interval([0.25, 0.5, 0.75, 0.5])
    half = NormalDist().inv_cdf(0.975) * (0.125 / 3) ** 0.5 / 2
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half))


def test_a_policy_that_is_always_right_gets_wilsons_interval():
    low, high = interval([1.0] * 10)
    assert high == 1.0
    assert low == pytest.approx(0.7224672)


def test_a_single_problem_has_an_interval():
    low, high = interval([0.5])
    assert 0 <= low < 0.5 < high <= 1


@given(st.lists(shares, min_size=1, max_size=20))
def test_the_interval_holds_the_mean_and_stays_between_0_and_1(means):
    low, high = interval(means)
    assert 0 <= low <= fmean(means) + 1e-9
    assert fmean(means) - 1e-9 <= high <= 1


@given(st.lists(counted_shares, min_size=1, max_size=20), st.integers(1, 9))
def test_clusters_of_one_size_have_the_interval_of_their_means(means, size):
    clusters = [(mean * size, size) for mean in means]
    assert share_interval(clusters) == pytest.approx(interval(means), abs=1e-6)


def test_shares_that_differ_by_rounding_alone_have_wilsons_interval_either_way():
    assert interval([0.0, 1e-217]) == share_interval([(0.0, 1), (1e-217, 1)]) == pytest.approx((0.0, 0.6576198))


def test_clusters_of_several_sizes_weigh_as_much_as_they_hold():
    low, high = share_interval([(1, 1), (0, 9), (5, 10)])
    assert low < 6 / 20 < high


def test_percentiles_interpolate():
    assert percentile([30, 10, 20, 40], 50) == 25
    assert percentile([7], 90) == 7
    assert percentile(list(range(101)), 10) == 10
