"""Completions that the length limit cuts off: counted, masked or penalised."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.errors import InputError
from ponder.rubric import Score
from ponder.types import Completion, Example, Rollout
from ponder_grpo import GrpoConfig, GrpoLossConfig
from ponder_grpo.batch import make_batch, overlong_penalty
from ponder_grpo.losses import GrpoLoss

NO_KL = GrpoLoss(GrpoLossConfig(kl_coef=0))
PENALISE = {"truncated": "penalise", "overlong_buffer": 4}


def options(**changes):
    return GrpoConfig(policy="base", task="all", rewards=["right"], group_size=2, prompts_per_step=1, **changes)


def group(*lengths):
    """Completions of these lengths, which all score 1."""
    rollouts = [
        Rollout(Example("ab"), Completion("", (3,) * length, (-1.0,) * length, "length"), 0) for length in lengths
    ]
    return rollouts, [Score(1.0, {}, {}) for _ in lengths]


@pytest.mark.parametrize(("length", "penalty"), [(16384, 0.0), (18432, -0.5), (20480, -1.0), (20481, -1.0)])
def test_the_penalty_is_that_of_dapo(length, penalty):
    assert overlong_penalty(length, 20480, 4096) == penalty


@given(st.integers(0, 200), st.integers(1, 100), st.integers(0, 100))
def test_the_penalty_falls_from_0_to_minus_1_and_never_rises_with_length(length, buffer, room):
    limit = buffer + room
    assert -1 <= overlong_penalty(length + 1, limit, buffer) <= overlong_penalty(length, limit, buffer) <= 0
    assert (overlong_penalty(length, limit, buffer) == 0) == (length <= limit - buffer)


def test_a_longer_completion_is_worth_less_where_it_is_penalised(tokenizer):
    batch = make_batch(*group(6, 10), tokenizer, options(**PENALISE), 10)
    assert [row.advantage for row in batch.rows] == [1.0, -1.0]
    assert batch.metrics == {"groups_without_signal": 0.0, "overlong_penalty": -0.5}


def test_below_the_buffer_nothing_is_penalised(tokenizer):
    batch = make_batch(*group(2, 6), tokenizer, options(**PENALISE), 10)
    assert [row.advantage for row in batch.rows] == [0.0, 0.0]


def test_the_penalty_is_on_the_scale_of_the_scores(tokenizer):
    batch = make_batch(*group(8, 10), tokenizer, options(**PENALISE, advantage="mean"), 10)
    assert [row.advantage for row in batch.rows] == [0.25, -0.25]


@pytest.mark.parametrize("choice", ["count", "mask"])
def test_without_it_lengths_do_not_matter(tokenizer, choice):
    batch = make_batch(*group(6, 10), tokenizer, options(truncated=choice), 10)
    assert len(batch.rows) == (0 if choice == "mask" else 2)
    assert batch.metrics == {"groups_without_signal": 1.0}


def test_a_penalty_without_a_buffer_is_refused():
    with pytest.raises(ValueError, match="overlong_buffer must be at least 1"):
        options(truncated="penalise")


@pytest.mark.parametrize("architecture", ["qwen2"])
class TestInTheStage:
    def test_penalties_are_logged_and_leave_the_reward_as_it_is(self, make_context, train):
        context = make_context(NO_KL)
        context.rubric_object.reward = lambda completion: 1.0
        train(context, **PENALISE)
        for line in context.metrics():
            assert line["reward"] == 1.0
            assert -1 <= line["overlong_penalty"] < 0
            assert line["groups_without_signal"] < 1

    def test_a_buffer_longer_than_the_limit_is_refused(self, make_context, train):
        with pytest.raises(InputError, match=r"at least overlong_buffer \(7\) tokens.*'fast' has a length limit of 6"):
            train(make_context(NO_KL), truncated="penalise", overlong_buffer=7)

    def test_a_sampler_without_a_limit_cannot_be_penalised(self, make_context, train):
        context = make_context(NO_KL)
        context.sampler_object.max_new_tokens = 0
        with pytest.raises(InputError, match="has no length limit"):
            train(context, **PENALISE)

    def test_a_run_with_penalties_resumes_to_the_bit(self, check_resumption):
        check_resumption(NO_KL, (1, 2), {"steps": 4, **PENALISE})
