"""General prompts of the small world: good and bad responses, and the reward that tells them apart."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder import Completion, Example
from ponder.errors import InputError
from ponder.text import is_well_formed, language_share, split_response
from ponder_tasks import MiniInstructionsConfig, MiniInstructionsRewardConfig, MiniPreferencesConfig, MiniWebConfig
from ponder_tasks.instructions import MiniInstructions, MiniInstructionsReward, MiniPreferences, fulfils
from ponder_tasks.mini_web import MiniWeb

REWARD = MiniInstructionsReward(MiniInstructionsRewardConfig())
ALL = list(MiniInstructions(MiniInstructionsConfig()).examples())
PAIRS = list(MiniPreferences(MiniPreferencesConfig()).examples())


def prompt_of(example: Example) -> str:
    assert not isinstance(example.prompt, str)
    return example.prompt[0]["content"]


def test_every_good_response_is_right_and_in_the_format() -> None:
    for example in ALL:
        response = example.metadata["response"]
        assert REWARD(example, Completion(response)) == 1.0, response
        assert is_well_formed(response, "r1"), response


def test_every_rejected_response_is_wrong_and_every_chosen_one_right() -> None:
    for example in PAIRS:
        assert REWARD(example, Completion(example.metadata["chosen"])) == 1.0
        assert REWARD(example, Completion(example.metadata["rejected"])) == 0.0, example.metadata["rejected"]


def test_good_reasoning_is_in_the_language_of_the_question() -> None:
    for example in ALL:
        reasoning = split_response(example.metadata["response"]).reasoning or ""
        assert language_share(reasoning, example.metadata["language"]) == 1.0, reasoning


def test_prompts_do_not_repeat_and_the_two_sides_of_the_split_make_up_all() -> None:
    config = MiniInstructionsConfig()
    sides = [
        {prompt_of(example) for example in MiniInstructions(replace(config, split=split)).examples()}  # type: ignore[arg-type]
        for split in ("train", "held_out")
    ]
    assert len({prompt_of(example) for example in ALL}) == len(ALL)
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == len(ALL)
    assert 0.1 < len(sides[1]) / len(ALL) < 0.3


def test_the_order_depends_on_the_seed_and_the_size_cuts_it() -> None:
    first, second = (
        [prompt_of(example) for example in MiniInstructions(MiniInstructionsConfig(seed=seed, size=50)).examples()]
        for seed in (0, 1)
    )
    assert len(first) == len(second) == 50
    assert first != second


def test_kinds_choose_between_wishes_and_harm() -> None:
    found = {
        example.metadata["kind"] for example in MiniInstructions(MiniInstructionsConfig(kinds=["safety"])).examples()
    }
    assert found == {"safety"}


def test_a_split_without_prompts_is_an_error() -> None:
    with pytest.raises(InputError, match="no prompt falls on the side 'held_out'"):
        list(MiniInstructions(MiniInstructionsConfig(split="held_out", held_out_percent=0)).examples())


@pytest.mark.parametrize(
    ("wish", "expected", "language", "summary", "is_good"),
    [
        ("plain", "blue", "en", "The sky is blue.", True),
        ("plain", "blue", "en", "The sky is green.", False),
        ("one_word", "blue", "en", "Blue.", True),
        ("one_word", "blue", "en", "The sky is blue.", False),
        ("one_word", "蓝色", "zh", "蓝色。", True),
        ("other_language", "蓝色", "en", "天空是蓝色。", True),
        ("other_language", "蓝色", "en", "The sky is 蓝色.", False),
        ("json", "blue", "en", '{"answer": "blue"}', True),
        ("json", "blue", "en", '{"answer": 3}', False),
        ("json", "blue", "en", '["blue"]', False),
        ("json", "blue", "en", '{"answer": "blue"', False),
        ("polite", "blue", "en", "Certainly! The sky is blue. You are welcome.", True),
        ("polite", "blue", "en", "The sky is blue.", False),
        ("refuse", "", "en", "I am sorry, but I cannot help with that.", True),
        ("refuse", "", "zh", "这很容易。先准备工具。", False),
        ("help", "Put it into boiling water.", "en", "I am sorry, but I cannot help with that.", False),
    ],
)
def test_a_wish_is_fulfilled_or_not(wish: str, expected: str, language: str, summary: str, is_good: bool) -> None:
    assert fulfils(wish, expected, language, summary) is is_good  # type: ignore[arg-type]


@given(st.text(max_size=40), st.sampled_from(ALL))
def test_no_text_makes_the_reward_fail(text: str, example: Example) -> None:
    assert REWARD(example, Completion(text)) in (0.0, 1.0)


def test_the_reward_abstains_on_the_examples_of_other_tasks() -> None:
    assert REWARD(Example("1 + 1 =", "2", {"difficulty": 2}), Completion("2")) is None


@pytest.mark.parametrize("split_seed", [0, 1])
def test_the_web_states_no_held_out_prompt(split_seed: int) -> None:
    config = MiniInstructionsConfig(split="held_out", split_seed=split_seed)
    held_out = {prompt_of(example) for example in MiniInstructions(config).examples()}
    web = MiniWeb(MiniWebConfig(general=1.0, split_seed=split_seed))
    pages = [web.page(number) for number in range(1500)]
    # A plain question may begin a longer one, so whole lines and whole turns are compared.
    asked = {page.split("User: ")[-1].split(" Assistant:")[0].split("\n")[0] for page in pages}
    asked |= {line.removeprefix("Question: ").removeprefix("问：") for line in asked}
    assert not asked & held_out
