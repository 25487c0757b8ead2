"""reasoning-gym's problems and scorers."""

import pytest
import reasoning_gym

from ponder import Completion
from ponder.errors import InputError
from ponder_tasks import ReasoningGymConfig, ReasoningGymRewardConfig
from ponder_tasks.gym import BATCH, ReasoningGym, ReasoningGymReward

ONE_DIGIT = {"min_terms": 3, "max_terms": 4, "min_digits": 1, "max_digits": 1}


def examples(**options):
    config = {"dataset": "chain_sum", "size": 50, "options": ONE_DIGIT, "difficulty": "num_terms", **options}
    return list(ReasoningGym(ReasoningGymConfig(**config)).examples())


def test_problems_are_different_and_the_same_each_time():
    first = examples()
    assert first == examples()
    assert len({example.prompt[0]["content"] for example in first}) == 50


def test_the_difficulty_comes_from_the_problem_itself():
    assert {example.metadata["difficulty"] for example in examples()} == {3, 4}


def test_few_problems_are_given_once_each():
    tiny = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
    assert len(examples(options=tiny, size=5000)) == 200


def test_once_the_generator_only_repeats_itself_no_more_is_asked_of_it(monkeypatch):
    asked, create = [], reasoning_gym.create_dataset
    monkeypatch.setattr(
        reasoning_gym, "create_dataset", lambda *args, **kw: asked.append(kw["size"]) or create(*args, **kw)
    )
    tiny = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
    assert len(examples(options=tiny, size=400)) == 200
    assert sum(asked) <= 10 * BATCH


def test_a_side_of_the_split_without_any_problem_is_an_error():
    with pytest.raises(InputError, match="made no problem for the split 'held_out'"):
        examples(split="held_out", held_out_percent=0.0, options={**ONE_DIGIT, "max_terms": 3})


@pytest.mark.parametrize("dataset", ["chain_sum", "basic_arithmetic", "products", "gcd", "leg_counting"])
def test_its_own_scorer_gives_the_gold_answer_full_marks_and_nonsense_none(dataset):
    reward = ReasoningGymReward(ReasoningGymRewardConfig())
    for example in examples(dataset=dataset, options={}, size=5, difficulty=None):
        assert reward(example, Completion(f"<think> hm </think> <answer> {example.answer} </answer>")) == 1.0
        assert reward(example, Completion("<think> hm </think> <answer> none of it </answer>")) == 0.0


def test_partial_credit_is_passed_on_only_when_asked():
    example = examples(dataset="leg_counting", options={}, size=1, difficulty=None)[0]
    nearly = Completion(f"it is {example.answer} or so")
    assert ReasoningGymReward(ReasoningGymRewardConfig())(example, nearly) == 0.0
    assert 0 <= ReasoningGymReward(ReasoningGymRewardConfig(partial_credit=True))(example, nearly) <= 1


def test_the_scorer_abstains_on_other_tasks_examples():
    from ponder import Example

    assert ReasoningGymReward(ReasoningGymRewardConfig())(Example("1 + 1?", "2"), Completion("2")) is None


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"dataset": "chain_sums"}, "did you mean 'chain_sum'"),
        ({"options": {"min_term": 2}}, "no option 'min_term'; did you mean 'min_terms'"),
        ({"options": {"min_terms": 5, "max_terms": 2}}, "refuses the options"),
        ({"wordings": {"en": "What is {sum}?"}}, r"wordings.en: chain_sum has no \{sum\}; it has .*expression"),
    ],
)
def test_wrong_options_are_said_before_any_training(options, complaint):
    with pytest.raises(InputError, match=complaint):
        examples(**options)


def test_a_split_that_leaves_nothing_is_said():
    with pytest.raises(InputError, match="no problem for the split 'held_out'"):
        examples(
            split="held_out",
            held_out_percent=0.0,
            options={"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1},
        )


def test_problems_take_turns_in_the_wordings_and_know_their_language():
    wordings = {"en": "{question}", "zh": "请计算： {expression}"}
    plain, worded = examples(size=4), examples(size=4, wordings=wordings)
    assert [example.metadata["language"] for example in worded] == ["en", "zh", "en", "zh"]
    assert [example.answer for example in worded] == [example.answer for example in plain]
    assert worded[0].prompt == plain[0].prompt
    assert worded[1].prompt[0]["content"] == f"请计算： {worded[1].metadata['gym']['expression']}"


def test_without_wordings_no_language_is_said():
    assert "language" not in examples(size=1)[0].metadata
