import pytest

from ponder.errors import StageError
from ponder.randomness import shuffled_index
from ponder.rubric import Score
from ponder.types import Completion, Example, Rollout
from ponder_grpo.batch import make_batch
from ponder_grpo.config import GrpoConfig
from ponder_grpo.measures import measure
from ponder_grpo.problems import Problems
from ponder_grpo.rollouts import check_groups


def rollout(group, prompt="ab", tokens=(2, 3, 0), reason="stop"):
    return Rollout(Example(prompt), Completion("ab", tokens, (-1.0,) * len(tokens), reason), group)


def score(total):
    return Score(total, {"early": total}, {"early": "ok"})


def config(**options):
    return GrpoConfig(policy="base", task="letters", rewards=["early"], group_size=2, prompts_per_step=2, **options)


def test_a_group_of_two_prompts_is_refused():
    with pytest.raises(StageError, match="group 0 holds 2 completions of 2 prompts"):
        check_groups([rollout(0, "ab"), rollout(0, "ac")], 2)


def test_a_group_of_another_size_is_refused():
    with pytest.raises(StageError, match="group 1 holds 1 completions"):
        check_groups([rollout(0), rollout(0), rollout(1)], 2)


def test_advantages_follow_the_group_id_and_not_the_order(tokenizer):
    mixed = [rollout(0), rollout(1, "cd"), rollout(0), rollout(1, "cd")]
    batch = make_batch(mixed, [score(1.0), score(5.0), score(0.0), score(7.0)], tokenizer, config())
    assert [(row.group, row.advantage) for row in batch.rows] == [(0, 1.0), (0, -1.0), (1, -1.0), (1, 1.0)]
    assert batch.rows[0].prompt == [2, 3]
    assert batch.rows[2].prompt == [4, 5]


def test_an_unscored_completion_is_no_row(tokenizer):
    rollouts = [rollout(0), rollout(0), rollout(1), rollout(1)]
    batch = make_batch(rollouts, [score(1.0), score(None), score(0.0), score(1.0)], tokenizer, config())
    assert [row.index for row in batch.rows] == [0, 2, 3]
    assert batch.rows[0].advantage == 0.0
    assert batch.metrics["groups_without_signal"] == 0.5


def test_a_cut_off_completion_is_no_row_when_truncated_ones_are_masked(tokenizer):
    rollouts = [rollout(0), rollout(0, reason="length"), rollout(1), rollout(1)]
    scores = [score(1.0), score(0.0), score(0.0), score(1.0)]
    assert len(make_batch(rollouts, scores, tokenizer, config()).rows) == 4
    assert [row.index for row in make_batch(rollouts, scores, tokenizer, config(truncated="mask")).rows] == [0, 2, 3]


def test_problems_come_in_the_counter_based_order_of_shuffled_epochs():
    examples = [Example(str(index)) for index in range(7)]
    drawn = [int(example.prompt) for step in range(4) for example in Problems(examples, 9).take(3 * step, 3)]
    assert drawn == [shuffled_index(position, 7, 9, "prompts") for position in range(12)]
    assert sorted(drawn[:7]) == list(range(7))


def test_measures_are_means_over_completions():
    completions = [
        Completion("Wait, that is wrong.", (2, 3, 4, 0), (-1.0, -2.0, -1.0, -2.0)),
        Completion("这是 six", (2, 3), (-3.0, -3.0), "length"),
    ]
    measures = measure([Rollout(Example("ab"), completion, 0) for completion in completions], "en")
    assert measures["response_length"] == 3.0
    assert measures["truncated"] == 0.5
    assert measures["reflection_rate"] == 1.0
    assert measures["mixed_languages"] == 0.5
    assert measures["entropy"] == 2.0
    assert 0 < measures["chinese_share"] < 0.5 < measures["language_consistency"] < 1


def test_a_measure_that_nothing_has_is_left_out():
    measures = measure([Rollout(Example("ab"), Completion("12 + 3", (2,)), 0)], "en")
    assert "language_consistency" not in measures
    assert "entropy" not in measures
