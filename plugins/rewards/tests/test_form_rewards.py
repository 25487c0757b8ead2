"""Rewards for form: tags, lengths, repetition, steps."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder import Completion, Example, Rollout
from ponder_rewards import (
    CosineLengthConfig,
    FormatConfig,
    LengthConfig,
    ReasoningStepsConfig,
    RepetitionConfig,
    SoftOverlongConfig,
    TagCountConfig,
)
from ponder_rewards.format import Format
from ponder_rewards.lengths import CosineLength, Length, SoftOverlong
from ponder_rewards.reasoning_steps import ReasoningSteps
from ponder_rewards.repetition import Repetition
from ponder_rewards.tag_count import TagCount

Q = Example("q", "4")
GOOD = "<think>\nreasoning\n</think>\n<answer>\nanswer\n</answer>"
THOUGHT = ["<|begin_of_thought|>", "<|end_of_thought|>", "<|begin_of_solution|>", "<|end_of_solution|>"]
tags = st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "x", " ", "\n", "."])


def tokens(length: int, text: str = "x") -> Completion:
    return Completion(text, tuple(range(length)))


# format


@pytest.mark.parametrize("empty", ["", " ", "\n\n", "\u200b", "...", "\u3164", "\ud800", "!?"])
def test_thinking_without_content_is_no_format(empty: str) -> None:
    assert Format(FormatConfig())(Q, Completion(f"<think>{empty}</think>\n<answer>4</answer>")) == 0.0
    assert Format(FormatConfig(style="r1"))(Q, Completion(f"<think>{empty}</think>\n4")) == 0.0


def test_an_invisible_answer_is_no_format_but_a_sign_is() -> None:
    assert Format(FormatConfig())(Q, Completion("<think>a</think><answer>\u200b\n</answer>")) == 0.0
    assert Format(FormatConfig())(Q, Completion("<think>a</think><answer>+</answer>")) == 1.0


def test_the_tags_may_be_chosen() -> None:
    own = Format(FormatConfig(tags=THOUGHT))
    assert own(Q, Completion(f"{THOUGHT[0]}a{THOUGHT[1]}\n{THOUGHT[2]}b{THOUGHT[3]}")) == 1.0
    assert own(Q, Completion(GOOD)) == 0.0
    assert own(Example(f"q {THOUGHT[0]}"), Completion(f"a{THOUGHT[1]}{THOUGHT[2]}b{THOUGHT[3]}")) == 1.0


@pytest.mark.parametrize("config", [FormatConfig, TagCountConfig])
@pytest.mark.parametrize(
    "chosen", [[], ["a", "b", "c"], ["a", "b", "c", "a"], ["a", "b", "c", ""], [" a", "b", "c", "d"]]
)
def test_tags_that_cannot_be_told_apart_are_refused(config: type, chosen: list[str]) -> None:
    with pytest.raises(ValueError, match="tags must be four different texts"):
        config(tags=chosen)


# tag_count


@pytest.mark.parametrize(
    ("text", "score"),
    [
        (GOOD, 1.0),
        ("\nreasoning\n</think>\n<answer>\nanswer\n</answer>", 0.75),
        ("<think>\nreasoning\n<answer>\nanswer\n</answer>", 0.75),
        ("<think>\nreasoning\n</think>\nanswer\n</answer>", 0.75),
        ("<think>\nreasoning\n</think>\n<answer>\nanswer", 0.75),
        ("reasoning", 0.0),
        ("", 0.0),
        ("<think>\n\n</think>\n<answer>\n\n</answer>", 0.0),
        ("<think></think>", 0.0),
        (GOOD * 2, 0.0),
        ("<think>" * 9 + GOOD, 0.75),
        ("<think><answer></think></answer>", 0.0),
        ("</answer>b<answer>a</think>c<think>", 0.0),
        (f"before {GOOD} after", 0.5),
        ("<think>a</think> but <answer>b</answer>", 0.75),
    ],
)
def test_each_tag_in_its_place_and_around_something_is_a_quarter(text: str, score: float) -> None:
    assert TagCount(TagCountConfig())(Q, Completion(text)) == score


def test_a_tag_that_the_prompt_holds_counts() -> None:
    response = Completion("a</think><answer>b</answer>")
    assert TagCount(TagCountConfig(prefilled=True))(Q, response) == 1.0
    assert TagCount(TagCountConfig())(Example("q <think>"), response) == 1.0


@given(st.lists(tags, max_size=12).map("".join))
def test_all_four_tags_count_exactly_when_the_format_is_right(text: str) -> None:
    assert (TagCount(TagCountConfig())(Q, Completion(text)) == 1.0) == (
        Format(FormatConfig())(Q, Completion(text)) == 1.0
    )


# lengths

relative = Length(LengthConfig())


@pytest.mark.parametrize(("length", "score"), [(0, 0.0), (16384, 0.0), (18432, -0.5), (20480, -1.0), (20481, -1.0)])
def test_soft_overlong_is_dapos(length: int, score: float) -> None:
    assert SoftOverlong(SoftOverlongConfig())(Q, tokens(length, "x" * length)) == score


def test_soft_overlong_without_a_buffer_is_a_step() -> None:
    step = SoftOverlong(SoftOverlongConfig(max_length=10, buffer=0))
    assert [step(Q, tokens(length)) for length in (10, 11)] == [0.0, -1.0]


def test_lengths_in_tokens_abstain_where_no_tokens_are_known() -> None:
    assert SoftOverlong(SoftOverlongConfig())(Q, Completion("x")) is None
    assert CosineLength(CosineLengthConfig())(Q, Completion("4")) is None
    assert Repetition(RepetitionConfig(unit="tokens"))(Q, Completion("x")) is None


@pytest.mark.parametrize(
    ("text", "length", "score"),
    [
        ("4", 1, 1.0),
        ("4", 20, 0.952),
        ("4", 50, 0.75),
        ("4", 80, 0.548),
        ("5", 1, -1.0),
        ("5", 20, -0.952),
        ("5", 80, -0.548),
    ],
)
def test_the_cosine_leads_from_one_score_to_the_other(text: str, length: int, score: float) -> None:
    reward = CosineLength(CosineLengthConfig(max_length=100, unit="characters"))
    assert reward(Q, Completion(" " * (length - 1) + text)) == pytest.approx(score, abs=5e-4)


@given(st.integers(0, 99), st.integers(0, 99))
def test_short_right_answers_and_long_wrong_ones_are_better(first: int, second: int) -> None:
    reward = CosineLength(CosineLengthConfig(max_length=100))
    shorter, longer = sorted((first + 1, second + 1))
    right = [reward(Q, tokens(length, "4")) for length in (shorter, longer)]
    wrong = [reward(Q, tokens(length, "5")) for length in (shorter, longer)]
    assert right == sorted(right, reverse=True)  # type: ignore[type-var]
    assert wrong[-1] == -1.0 or wrong == sorted(wrong)  # type: ignore[type-var]


@pytest.mark.parametrize("length", [100, 150, 200, 10_000])
def test_beyond_its_end_the_cosine_does_not_rise_again(length: int) -> None:
    assert CosineLength(CosineLengthConfig(max_length=100))(Q, tokens(length, "4")) == -1.0


@pytest.mark.parametrize("answer", [None, "", "???"])
def test_an_answer_that_cannot_be_read_pays_nothing_for_length(answer: str | None) -> None:
    example = Example("q", answer)
    assert CosineLength(CosineLengthConfig())(example, tokens(5, "4")) is None
    assert relative.score([Rollout(example, tokens(5, "4"), 0)]) == [None]


def test_wrong_answers_that_would_pay_more_than_right_ones_are_refused() -> None:
    with pytest.raises(ValueError, match="correct_short"):
        CosineLengthConfig(correct_long=-2.0)
    with pytest.raises(ValueError, match="exceeded"):
        CosineLengthConfig(exceeded=math.inf)


def test_length_is_relative_to_the_group_and_wrong_answers_get_at_most_nothing() -> None:
    lengths = [(10, "4", 0), (20, "4", 0), (30, "4", 0), (10, "5", 0), (30, "5", 0), (7, "4", 1), (7, "5", 1)]
    rollouts = [Rollout(Q, tokens(length, text), group) for length, text, group in lengths]
    assert relative.score(rollouts) == [0.5, 0.0, -0.5, 0.0, -0.5, 0.0, 0.0]


def test_a_group_without_known_tokens_is_measured_in_characters() -> None:
    rollouts = [Rollout(Q, Completion(text), 0) for text in ("4", "so it is 4")]
    assert relative.score(rollouts) == [0.5, -0.5]


# repetition


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("this is a test this is a test", 4 / 7 - 1),
        ("this this this this this", -0.75),
        ("This tHis THIS this thiS", -0.75),
        ("no word stands here twice", 0.0),
        ("我们我们我们", 2 / 5 - 1),
        ("+ + + + +", -0.75),
        ("", 0.0),
        ("one", 0.0),
    ],
)
def test_repetition_is_the_share_of_repeated_pairs(text: str, score: float) -> None:
    assert Repetition(RepetitionConfig(ngram=2))(Q, Completion(text)) == pytest.approx(score)


def test_repetition_may_count_tokens() -> None:
    reward = Repetition(RepetitionConfig(ngram=2, unit="tokens"))
    assert [reward(Q, Completion("x", ids)) for ids in ((1, 2, 3, 4), (5,) * 5)] == [0.0, -0.75]


# reasoning_steps


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Step 1: First step\nStep 2: Second step\nStep 3: Third step", 1.0),
        ("First, we do this.\nSecond, we do that.\nFinally, we conclude.", 1.0),
        ("1. add the ones\n2. add the tens\n3. write it down\n4. check it all", 1.0),
        ("- add the ones\n- add the tens", 2 / 3),
        ("首先，把两个数相加。然后，检查结果。最后，写出答案。", 1.0),
        ("Step 1: Only step", 1 / 3),
        ("Just plain text without any clear steps", 0.0),
        ("\n-\n-\n-", 0.0),
        ("1.\n2.\n3.\n", 0.0),
        ("First, Second, Next, Finally,", 0.0),
        ("Step 1: add them\nStep 2: add them\nStep 3: add them", 1 / 3),
        ("Step 1: 1 2\nStep 2: 3 4\nStep 3: 5 6", 0.0),
        ("<think>Step 1: add them</think>\n- one more\n- and more\n- and more of it", 1 / 3),
        ("at first, it was 3.5 - 2", 0.0),
        ("We see. First, add them both! Then, check the sum.", 2 / 3),
        ("", 0.0),
    ],
)
def test_steps_count_when_they_say_something_new(text: str, score: float) -> None:
    assert ReasoningSteps(ReasoningStepsConfig())(Q, Completion(text)) == pytest.approx(score)
