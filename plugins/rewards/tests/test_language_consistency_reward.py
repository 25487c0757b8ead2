from typing import Literal

import pytest

from ponder import Completion, Example
from ponder_rewards import LanguageConsistencyConfig
from ponder_rewards.language_consistency import LanguageConsistency


def score(text: str, language: Literal["en", "zh"] = "en") -> float | None:
    return LanguageConsistency(LanguageConsistencyConfig(language=language))(Example("q", "4"), Completion(text))


@pytest.mark.parametrize(
    ("reasoning", "language", "share"),
    [
        ("word " * 20, "en", 1.0),
        ("word " * 18 + "因此 答案", "en", 0.9),
        ("word " * 5 + "思考" * 15, "en", 0.25),
        ("思考" * 30 + " word" * 10, "zh", 0.75),
        ("思考 " * 30, "en", 0.0),
    ],
)
def test_the_score_is_the_share_of_the_language_in_the_reasoning(
    reasoning: str, language: Literal["en", "zh"], share: float
) -> None:
    assert score(f"<think>{reasoning}</think> <answer>所以答案是</answer>", language) == share


def test_reasoning_that_was_cut_off_counts() -> None:
    assert score("<think>four words are here") == 1.0


def test_a_response_without_tags_is_reasoning_as_a_whole() -> None:
    assert score("two words 思考 我们") == 0.5


@pytest.mark.parametrize("text", ["", "<think>1 + 1 = 2</think> <answer>two</answer>", "<think>$x$</think>"])
def test_reasoning_without_words_abstains(text: str) -> None:
    assert score(text) is None


def test_all_of_a_response_may_be_read() -> None:
    completion = Completion("<think> step by step </think> 答案是 四")
    assert LanguageConsistency(LanguageConsistencyConfig())(Example("q"), completion) == 1.0
    whole = LanguageConsistency(LanguageConsistencyConfig(of="response"))(Example("q"), completion)
    assert whole is not None
    assert 0 < whole < 1


def test_the_language_may_be_that_of_the_question() -> None:
    answers = LanguageConsistency(LanguageConsistencyConfig(language="question"))
    completion = Completion("<think> step by step </think> 四")
    assert answers(Example("What is it?"), completion) == 1.0
    assert answers(Example("这是什么？"), completion) == 0.0
