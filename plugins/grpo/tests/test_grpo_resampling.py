"""Dynamic sampling: prompts whose completions all score the same make room for others."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.rubric import Score
from ponder.types import Completion, Example, Rollout
from ponder_grpo import DapoLossConfig, GrpoConfig, GrpoLossConfig
from ponder_grpo.batch import count_teaching, make_batch
from ponder_grpo.losses import DapoLoss, GrpoLoss
from ponder_grpo.rollouts import Drawn

NO_KL = GrpoLoss(GrpoLossConfig(kl_coef=0))


@pytest.fixture
def architecture():
    return "qwen2"


def begins_early(completion):
    return float(completion.text[:1] in ("a", "b", "c"))


def options(**changes):
    return GrpoConfig(policy="base", task="all", rewards=["right"], group_size=2, **changes)


def drawn(*groups):
    """Groups of two completions, written as their scores; the prompt tells which group it was."""
    rollouts = [
        Rollout(Example(LETTERS[place]), Completion("a", (2, 0), (-1.0, -1.0)), place)
        for place in range(len(groups))
        for _ in range(2)
    ]
    return rollouts, [Score(total, {}, {}) for group in groups for total in group]


LETTERS = "abcdefghijklmnop"
TIED, OTHER = (1.0, 1.0), (1.0, 0.0)


def test_groups_that_teach_are_taken_before_others_and_keep_their_order(tokenizer):
    rollouts, scores = drawn(TIED, OTHER, TIED, OTHER, OTHER)
    batch = make_batch(rollouts, scores, tokenizer, options(prompts_per_step=3))
    assert [(row.group, row.prompt[0] - 2) for row in batch.rows[::2]] == [(0, 1), (1, 3), (2, 4)]


def test_where_too_few_groups_teach_the_first_others_fill_up(tokenizer):
    rollouts, scores = drawn(TIED, TIED, OTHER, TIED)
    batch = make_batch(rollouts, scores, tokenizer, options(prompts_per_step=2))
    assert [row.prompt[0] - 2 for row in batch.rows[::2]] == [0, 2]
    assert batch.metrics["groups_without_signal"] == 0.75


@given(st.lists(st.sampled_from([TIED, OTHER, (None, None), (1.0, None)]), min_size=1, max_size=16), st.integers(1, 16))
def test_a_step_is_full_and_no_group_that_teaches_gives_way_to_one_that_does_not(tokenizer_once, groups, size):
    rollouts, scores = drawn(*groups)
    config = options(prompts_per_step=size)
    teaching = count_teaching(rollouts, scores, config)
    assert teaching == groups.count(OTHER)
    rows = make_batch(rollouts, scores, tokenizer_once, config).rows
    assert sum(row.advantage != 0 for row in rows) == 2 * min(teaching, size)
    assert max((row.group for row in rows), default=0) < min(size, len(groups))


@pytest.fixture(scope="module")
def tokenizer_once():
    class Letters:
        def __call__(self, text, add_special_tokens):
            return {"input_ids": [2 + LETTERS.index(letter) for letter in text]}

    return Letters()


def test_further_draws_are_numbered_on():
    first, second = Drawn(*drawn(TIED, OTHER), {"sample": 1.0}), Drawn(*drawn(TIED), {"sample": 2.0, "score": 0.5})
    both = first.with_more(second)
    assert [rollout.group for rollout in both.rollouts] == [0, 0, 1, 1, 2, 2]
    assert both.scores == [*first.scores, *second.scores]
    assert both.seconds == {"sample": 3.0, "score": 0.5}


def test_prompts_are_asked_until_enough_groups_teach_or_the_limit_is_reached(make_context, train):
    context = make_context(NO_KL)
    context.rubric_object.reward = begins_early
    train(context, steps=6, dynamic_sampling=3)
    resampled = [line["resampled_prompts"] for line in context.metrics()]
    assert max(resampled) > 0
    for line in context.metrics():
        prompts = 4 + line["resampled_prompts"]
        teaching = round(prompts * (1 - line["groups_without_signal"]))
        assert line["resampled_prompts"] <= 3 * 4
        assert teaching <= 4 or line["resampled_prompts"] == 0


def test_further_prompts_are_the_next_ones_in_order(make_context, train):
    asked = []
    context = make_context(NO_KL)
    context.rubric_object.reward = lambda completion: 1.0
    sample = context.sampler_object.sample
    context.sampler_object.sample = lambda policy, examples, n, seed: (
        asked.append([example.prompt for example in examples]) or sample(policy, examples, n, seed)
    )
    train(context, steps=1, dynamic_sampling=2)
    assert [len(prompts) for prompts in asked] == [4, 4, 4]
    assert len({prompt for prompts in asked for prompt in prompts}) == 12
    assert context.metrics()[0]["resampled_prompts"] == 8
    assert len(set(context.sampler_object.calls)) == 3


def test_a_full_step_asks_nothing_further(make_context, train):
    class Different:
        temperature = 1.0

        def sample(self, policy, examples, n, seed):
            return [[Completion("ab"[i % 2], (2 + i % 2, 0), (-1.0, -1.0)) for i in range(n)] for _ in examples]

    with_it, without = (make_context(NO_KL, run=name, sampler_object=Different()) for name in "ab")
    for context in (with_it, without):
        context.rubric_object.reward = lambda completion: float(completion.text == "a")
    first, second = train(with_it, dynamic_sampling=5), train(without)
    assert {line["resampled_prompts"] for line in with_it.metrics()} == {0}
    weights = [(result.policy / "model.safetensors").read_bytes() for result in (first, second)]
    assert weights[0] == weights[1]


def test_what_was_drawn_in_vain_is_counted_in_the_compute_and_in_the_reward(make_context, train):
    with_it, without = make_context(NO_KL, run="a"), make_context(NO_KL, run="b")
    for context in (with_it, without):
        context.rubric_object.reward = lambda completion: 1.0
    more = train(with_it, dynamic_sampling=2).metrics
    less = train(without).metrics
    assert more["flops"] > 2.5 * less["flops"]
    assert more["reward"] == less["reward"] == 1.0


def test_a_run_interrupted_between_draws_ends_as_the_uninterrupted_one(check_resumption, make_context):
    rubric = replace(make_context(NO_KL).rubric_object, reward=begins_early)
    whole = check_resumption(
        DapoLoss(DapoLossConfig()),
        (1, 2, 4),
        {"steps": 6, "dynamic_sampling": 2, "minibatches": 2},
        rubric_object=rubric,
    )
    assert any(line["resampled_prompts"] for line in whole.metrics())


def test_a_draw_is_in_the_journal_before_the_next_is_made(make_context, train):
    context = make_context(NO_KL)
    context.rubric_object.reward = lambda completion: 1.0
    calls = []
    score = context.rubric_object.score

    def dies_the_second_time(rollouts):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return score(rollouts)

    context.rubric_object.score = dies_the_second_time
    with pytest.raises(KeyboardInterrupt):
        train(context, dynamic_sampling=2)
    assert context.journal().keys() == ["step-0"]
    resumed = make_context(NO_KL)
    resumed.rubric_object.reward = lambda completion: 1.0
    train(resumed, dynamic_sampling=2)
    assert resumed.journal().keys()[:3] == ["step-0", "step-0-1", "step-0-2"]


def test_a_negative_number_of_draws_is_refused():
    with pytest.raises(ValueError, match="dynamic_sampling must be at least 0"):
        options(dynamic_sampling=-1)
