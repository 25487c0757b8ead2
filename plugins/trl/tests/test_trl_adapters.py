"""Rewards that cross between ponder and TRL."""

import pytest

from ponder import Completion, Example, RewardConfig, Rollout
from ponder.rubric import NamedReward, Rubric
from ponder_trl.adapters import TrlReward, for_trl

CHAT = [{"role": "user", "content": "1+1?"}]


def length(completions, **_):
    return [float(len(completion)) for completion in completions]


def matches(prompts, completions, solution, answer, completion_ids, **_):
    """As people write them for TRL: over chat messages and a column of the data set."""
    assert [prompt[-1]["content"] for prompt in prompts] == ["1+1?"] * len(prompts)
    said = [completion[0]["content"] for completion in completions]
    return [None if wanted is None else float(text == wanted) for text, wanted in zip(said, solution, strict=True)]


def rollout(text, prompt=CHAT, **metadata):
    return Rollout(Example(prompt, "2", metadata), Completion(text, (1, 2)), 0)


def test_a_function_for_trl_scores_in_a_rubric():
    rollouts = [rollout("2", solution="2"), rollout("3", solution="2"), rollout("2")]
    with Rubric([NamedReward("matches", 1.0, TrlReward(matches), RewardConfig())]) as rubric:
        assert [score.total for score in rubric.score(rollouts)] == [1.0, 0.0, None]


def test_a_plain_prompt_comes_with_a_plain_completion():
    assert TrlReward(length).score([rollout("abc", "text")]) == [3.0]


def answered(example, completion):
    return float(completion.text == example.answer) + example.metadata["bonus"]


@pytest.mark.parametrize("completions", [["2", "3"], [[{"role": "assistant", "content": text}] for text in "23"]])
def test_a_reward_of_ponder_is_a_function_for_trl(completions):
    function = for_trl(answered, "answered")
    assert function.__name__ == "answered"
    scores = function(
        prompts=[CHAT, CHAT], completions=completions, answer=[2, 2], bonus=[0, 5], trainer_state=object()
    )
    assert scores == [1.0, 5.0]


def test_neighbours_with_one_prompt_are_a_group():
    class Groups:
        def score(self, rollouts):
            return [float(rollout.group) for rollout in rollouts]

    assert for_trl(Groups(), "groups")(prompts=["a", "a", "b", "a"], completions=["x"] * 4) == [0.0, 0.0, 1.0, 2.0]
