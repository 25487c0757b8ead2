import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ponder_grpo.advantages import group_advantages, tied_groups

TABLE = [
    ([1, 0, 0, 1], [1, -1, -1, 1], [0.8660254, -0.8660254, -0.8660254, 0.8660254], [0.5, -0.5, -0.5, 0.5]),
    ([1, 0, 0, 0], [1.7320508, *[-0.5773503] * 3], [1.5, *[-0.5] * 3], [0.75, *[-0.25] * 3]),
    ([1, 1, 1, 0], [*[0.5773503] * 3, -1.7320508], [*[0.5] * 3, -1.5], [*[0.25] * 3, -0.75]),
    ([2, 1, 1, 0], [1.4142136, 0, 0, -1.4142136], [1.2247449, 0, 0, -1.2247449], [1, 0, 0, -1]),
    ([1, 1, 1, 1], [0] * 4, [0] * 4, [0] * 4),
    (
        [3.0, 2.5, 2.0, 0.8],
        [1.1327120, 0.5204353, -0.0918415, -1.5613058],
        [0.9809574, 0.4507102, -0.0795371, -1.3521305],
        [0.925, 0.425, -0.075, -1.275],
    ),
]


def advantages(rewards, kind, scored=None):
    values = torch.tensor([rewards], dtype=torch.float64)
    known = torch.ones_like(values, dtype=torch.bool) if scored is None else torch.tensor([scored])
    return group_advantages(values, known, kind)[0]


@pytest.mark.parametrize(("rewards", "population", "sample", "mean"), TABLE)
def test_every_printed_advantage_is_reproduced(rewards, population, sample, mean):
    for kind, expected in (("group", population), ("group_sample_std", sample), ("mean", mean)):
        torch.testing.assert_close(
            advantages(rewards, kind), torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-12
        )


@pytest.mark.parametrize(
    ("correct", "good", "bad"),
    [
        (1, 3.8729833, -0.2581989),
        (2, 2.6457513, -0.3779645),
        (4, 1.7320508, -0.5773503),
        (8, 1, -1),
        (15, 0.2581989, -3.8729833),
    ],
)
def test_binary_rewards_in_a_group_of_sixteen_give_the_closed_form(correct, good, bad):
    rewards = [1.0] * correct + [0.0] * (16 - correct)
    population = advantages(rewards, "group")
    assert population[0].item() == pytest.approx(good, rel=1e-6)
    assert population[-1].item() == pytest.approx(bad, rel=1e-6)
    assert (advantages(rewards, "group_sample_std") / population).tolist() == pytest.approx([0.9682458] * 16, rel=1e-6)


@pytest.mark.parametrize("kind", ["group", "group_sample_std", "mean"])
def test_equal_scores_give_exactly_zero_even_when_their_mean_rounds(kind):
    assert advantages([0.1 + 0.2, 0.3, 0.3, 0.3, 0.6 / 2, 0.3, 0.3], kind).tolist() == [0.0] * 7


def test_an_unscored_completion_gets_no_advantage_and_does_not_move_the_mean():
    with_gap = advantages([1.0, 99.0, 0.0, 0.0, 1.0], "group", [True, False, True, True, True])
    assert with_gap.tolist() == [1.0, 0.0, -1.0, -1.0, 1.0]


@pytest.mark.parametrize("kind", ["group", "group_sample_std", "mean"])
def test_a_group_with_fewer_than_two_scores_has_no_signal(kind):
    assert advantages([5.0, 1.0, 2.0], kind, [True, False, False]).tolist() == [0.0] * 3
    assert advantages([5.0, 1.0, 2.0], kind, [False] * 3).tolist() == [0.0] * 3


def test_ties_are_found_group_by_group():
    rewards = torch.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    scored = torch.tensor([[True, True], [True, True], [True, False]])
    assert tied_groups(rewards, scored).tolist() == [True, False, True]


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12),
    st.floats(-100, 100),
    st.floats(0.01, 100),
)
def test_normalised_advantages_ignore_shift_and_scale_and_sum_to_zero(rewards, shift, scale):
    rewards = [round(value, 3) for value in rewards]
    plain = advantages(rewards, "group")
    moved = advantages([value * scale + shift for value in rewards], "group")
    torch.testing.assert_close(moved, plain, rtol=1e-6, atol=1e-6)
    assert abs(plain.sum().item()) < 1e-9
