"""What is measured of a step's groups: right answers, majorities, parts of a mixture, languages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.rubric import Score
from ponder.types import Completion, Example, Rollout
from ponder_grpo.measures import correctness, measure, per_task


def answers(*groups):
    """Rollouts and scores of groups written as "answer" or "answer!" where that is correct; None abstains."""
    rollouts, scores = [], []
    for group, texts in enumerate(groups):
        for text in texts:
            verdict = None if text is None else float(text.endswith("!"))
            answer = (text or "").rstrip("!")
            rollouts.append(Rollout(Example("?"), Completion(f"<answer>{answer}</answer>"), group))
            scores.append(Score(verdict, {"right": verdict, "other": 0.5}, {}))
    return rollouts, scores


def test_pass_at_1_is_the_share_of_correct_completions():
    assert correctness(*answers(["4!", "5", "4!", "4!"]), "right", 4)["pass@1"] == 0.75


@pytest.mark.parametrize(
    ("group", "chance"),
    [
        (["4!", "4!", "5", "6"], 1.0),
        (["4!", "5", "5", "6"], 0.0),
        (["4!", "4!", "5", "5"], 0.5),
        (["4!", "5", "6", "7"], 0.25),
        (["4!", "4.0!", "5", "5"], 0.5),  # both are the right answer, written differently
        (["4!", "", "", ""], 1.0),  # nothing answered is no vote
        (["", "", "", ""], 0.0),
    ],
)
def test_the_majority_is_the_most_frequent_answer_with_ties_broken_at_random(group, chance):
    assert correctness(*answers(group), "right", 4)["cons@4"] == chance


def test_the_majority_is_averaged_over_groups():
    assert correctness(*answers(["4!", "4!"], ["5", "6"]), "right", 2) == {"pass@1": 0.5, "cons@2": 0.5}


def test_what_the_reward_abstained_from_does_not_count():
    assert correctness(*answers(["4!", "4!"], [None, None]), "right", 2) == {"pass@1": 1.0, "cons@2": 1.0}


@pytest.mark.parametrize("reward", ["other", "unknown"])
def test_a_reward_that_does_not_say_right_or_wrong_measures_no_correctness(reward):
    assert correctness(*answers(["4!", "5"]), reward, 2) == {}


def test_nothing_scored_is_nothing_measured():
    assert correctness(*answers([None, None]), "right", 2) == {}


TEXTS = st.lists(st.sampled_from(["a!", "b!", "c", "d", "", None]), min_size=3, max_size=3)


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_pass_and_majority_are_shares_and_agree_at_the_ends(groups):
    found = correctness(*answers(*groups), "right", 3)
    assert all(0 <= value <= 1 for value in found.values())
    if found.get("pass@1") in (0.0, 1.0):
        assert found["cons@3"] == found["pass@1"]


def test_the_score_of_each_part_of_a_mixture_is_its_own():
    rollouts = [Rollout(Example("?", metadata={"task": part}), Completion("x"), 0) for part in ("sums", "chat", "sums")]
    scores = [Score(value, {}, {}) for value in (1.0, 3.0, 0.0)]
    assert per_task(rollouts, scores) == {"reward/chat": 3.0, "reward/sums": 0.5}


def test_a_part_without_a_score_is_left_out_and_so_are_tasks_without_parts():
    rollouts = [Rollout(Example("?", metadata={"task": "chat"}), Completion("x"), 0), Rollout(Example("?"), EMPTY, 1)]
    assert per_task(rollouts, [Score(None, {}, {}), Score(1.0, {}, {})]) == {}


EMPTY = Completion("")


def test_the_language_may_be_that_of_each_question():
    rollouts = [
        Rollout(Example("What is two plus two?"), Completion("The sum is four."), 0),
        Rollout(Example("二加二等于多少"), Completion("我们计算一下"), 1),
        Rollout(Example("x", metadata={"language": "zh"}), Completion("The sum is four."), 2),
    ]
    assert measure(rollouts, "question")["language_consistency"] == pytest.approx(2 / 3)
    assert measure(rollouts, "en")["language_consistency"] == pytest.approx(2 / 3)
    assert measure(rollouts, "zh")["language_consistency"] == pytest.approx(1 / 3)
