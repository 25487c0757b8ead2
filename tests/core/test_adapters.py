"""Rewards that cross between ponder and TRL, verifiers and reasoning-gym."""

import asyncio
from types import SimpleNamespace

import pytest

from ponder import Completion, Example, RewardConfig, Rollout
from ponder.adapters import IsolatedTrlReward, ScorerReward, TrlReward, VerifiersReward, for_trl
from ponder.errors import InputError
from ponder.rubric import Limits, NamedReward, Rubric

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


def test_without_prompts_all_completions_are_a_group_and_without_completions_tokens_are_enough():
    class Groups:
        def score(self, rollouts):
            return [float(rollout.group + len(rollout.completion.token_ids)) for rollout in rollouts]

    assert for_trl(Groups(), "groups")(["a", "b"]) == [0.0, 0.0]
    assert for_trl(Groups(), "groups")(completion_ids=[[1], [1, 2]]) == [1.0, 2.0]


def test_of_a_conversation_only_what_the_assistant_says_is_scored():
    said = [
        {"role": "assistant", "content": None},
        {"role": "tool", "content": "9"},
        {"role": "assistant", "content": [{"type": "text", "text": "2"}]},
    ]
    assert for_trl(answered, "answered")(completions=[said], answer=["2"], bonus=[0]) == [1.0]


def test_a_function_for_trl_can_score_one_by_one_in_the_worker_processes():
    rollouts = [rollout("2", solution="2"), rollout("3", solution="2"), rollout("2")]
    reward = NamedReward("matches", 1.0, IsolatedTrlReward(matches), RewardConfig())
    with Rubric([reward], limits=Limits(workers=1)) as rubric:
        assert [score.total for score in rubric.score(rollouts)] == [1.0, 0.0, None]


async def at_leisure(completions, **_):
    await asyncio.sleep(0)
    return length(completions)


@pytest.mark.parametrize("adapter", [TrlReward, IsolatedTrlReward])
def test_a_coroutine_for_trl_scores_in_a_rubric(adapter):
    rewards = [NamedReward("length", 1.0, adapter(at_leisure), RewardConfig())]
    with Rubric(rewards, limits=Limits(workers=1)) as rubric:
        assert [score.total for score in rubric.score([rollout("abc", "text"), rollout("", "text")])] == [3.0, 0.0]


def test_a_coroutine_for_trl_in_the_trainers_process_may_wait():
    async def waiting(completions, **_):
        await asyncio.sleep(0.001)
        return length(completions)

    assert TrlReward(waiting).score([rollout("abc", "text")]) == [3.0]


@pytest.mark.parametrize("library", ["torch.tensor", "numpy.array", "array.array"])
@pytest.mark.parametrize("is_each", [False, True])
def test_a_tensor_or_an_array_of_scores_is_a_list_of_numbers(library, is_each):
    module, _, name = library.partition(".")
    make = getattr(pytest.importorskip(module), name)

    def function(completions, **_):
        scores = [0.5] * len(completions)
        typed = ("d",) if module == "array" else ()
        return [make(*typed, [score])[0] for score in scores] if is_each else make(*typed, scores)

    assert [type(score) for score in TrlReward(function).score([rollout("a"), rollout("b")])] == [float, float]
    assert IsolatedTrlReward(function)(Example("q"), Completion("a")) == 0.5


def test_a_function_for_trl_that_returns_too_many_scores_is_refused():
    reward = IsolatedTrlReward(lambda completions, **_: [1.0, 2.0])
    with pytest.raises(ValueError, match="2 scores for one completion"):
        reward(Example("q"), Completion("a"))


class Parser:
    def parse_answer(self, completion):
        return completion[-1]["content"].rpartition(" ")[2]


def correct(completion, answer, parser):
    return float(parser.parse_answer(completion) == answer)


async def brief(completion, info, **others):
    assert others["state"]["prompt"] == others["prompt"]
    return float(len(completion[-1]["content"]) <= info["limit"])


def counts(state):
    raise AssertionError("a metric is not called")


def rubric_of_verifiers(**changes):
    offered = {"funcs": [correct, brief, counts], "weights": [1.0, 0.5, 0.0], "class_objects": {"parser": Parser()}}
    return SimpleNamespace(**{**offered, **changes})


@pytest.mark.parametrize(("text", "total"), [("2", 1.5), ("it is 2", 1.0), ("3", 0.5)])
def test_a_rubric_of_verifiers_is_the_weighted_sum_of_its_functions(text, total):
    reward = VerifiersReward(rubric_of_verifiers())
    assert reward(Example(CHAT, "2", {"info": {"limit": 3}}), Completion(text)) == total


def test_a_rubric_of_verifiers_crosses_to_the_worker_processes():
    reward = NamedReward("rubric", 1.0, VerifiersReward(rubric_of_verifiers()), RewardConfig())
    with Rubric([reward], limits=Limits(workers=1)) as rubric:
        scores = rubric.score([rollout("2", info={"limit": 3}), rollout("2")])
    assert [(score.total, score.statuses["rubric"]) for score in scores] == [(1.5, "ok"), (None, "error")]


def test_a_plain_prompt_comes_to_verifiers_with_a_plain_completion():
    reward = VerifiersReward(rubric_of_verifiers(funcs=[lambda completion, answer: completion == answer], weights=[2]))
    assert reward(Example("q", "2"), Completion("2")) == 2.0


@pytest.mark.parametrize("rubric", [SimpleNamespace(funcs=[], weights=[]), rubric_of_verifiers(weights=[0, 0, 0])])
def test_a_rubric_of_verifiers_without_a_function_that_counts_is_refused(rubric):
    with pytest.raises(InputError, match="give it one with a weight that is not 0"):
        VerifiersReward(rubric)


def test_functions_of_a_group_are_refused():
    with pytest.raises(InputError, match="asks for completions"):
        VerifiersReward(rubric_of_verifiers(funcs=[lambda completions: [1.0]], weights=[1.0]))


def test_a_scorer_of_reasoning_gym_gets_the_extracted_answer_and_the_entry():
    def score(answer, entry):
        return float(answer == entry["answer"]) * entry["metadata"]["worth"]

    example = Example(CHAT, "2", {"gym": {"worth": 0.5}})
    assert ScorerReward(score)(example, Completion("<think>hm</think> <answer>2</answer>")) == 0.5
    assert ScorerReward(score)(Example("q", "2", {"worth": 1}), Completion("3")) == 0.0
