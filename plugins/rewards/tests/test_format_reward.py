import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder import Completion, Example
from ponder.text import is_well_formed, split_response
from ponder_rewards import FormatConfig
from ponder_rewards.format import Format

GOOD = "<think>2+2=4</think> <answer>4</answer>"
tags = st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "x", " ", "\n"])


def score(text: str, *, prompt: object = "q", prefilled: bool = False) -> float:
    return Format(FormatConfig(prefilled=prefilled))(Example(prompt), Completion(text))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"\n {GOOD}\n",
        "<think>a</think><answer>b</answer>",
        "<think>\na\n\nb\n</think>\n\n<answer>\nc\n</answer>",
        "<think>a < b and <i>c</i></think><answer>d</answer>",
    ],
)
def test_reasoning_and_answer_in_their_tags_score_one(text: str) -> None:
    assert score(text) == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4",
        "<answer>4</answer>",
        "<think>a</think>",
        "<think>a</think> 4",
        f"{GOOD}\ntrailing",
        f"leading {GOOD}",
        f"{GOOD} {GOOD}",
        "<think>a</think> and <answer>b</answer>",
        "<think>a</think> <answer>b",
        "<think>a <answer>b</answer></think>",
        "<think>a</think><think>b</think><answer>c</answer>",
        "<think><think>a</think></think><answer>c</answer>",
        "<think>a</think><answer><answer>b</answer></answer>",
        "<answer>b</answer><think>a</think>",
        "<think> \n</think><answer>b</answer>",
        "<think>a</think><answer> </answer>",
        "<THINK>a</THINK><answer>b</answer>",
        "a</think><answer>b</answer>",
    ],
)
def test_anything_else_scores_zero(text: str) -> None:
    assert score(text) == 0.0


@pytest.mark.parametrize(
    "text", ["a</think> <answer>b</answer>", "\na</think>\n<answer>b</answer>", "<think>a</think> <answer>b</answer>"]
)
@pytest.mark.parametrize(
    "how",
    [
        {"prefilled": True},
        {"prompt": "q Assistant: <think>\n"},
        {"prompt": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "<think>\n"}]},
    ],
)
def test_a_think_tag_that_the_prompt_holds_need_not_be_repeated(text: str, how: dict[str, object]) -> None:
    assert score(text, **how) == 1.0  # type: ignore[arg-type]


def test_a_question_that_ends_with_the_tag_is_no_prefill() -> None:
    prompt = [{"role": "user", "content": "what follows <think>"}]
    assert score("a</think><answer>b</answer>", prompt=prompt) == 0.0


def test_a_prefilled_response_must_still_say_something() -> None:
    assert score("</think> <answer>b</answer>", prefilled=True) == 0.0


@given(st.lists(tags, max_size=12).map("".join))
def test_a_well_formed_text_is_its_two_parts_and_nothing_else(text: str) -> None:
    parts = split_response(text)
    rebuilt = f"<think>{parts.reasoning}</think><answer>{parts.answer}</answer>"
    squeezed = "".join(text.split())
    if is_well_formed(text):
        assert parts.reasoning
        assert parts.answer
        assert squeezed == "".join(rebuilt.split())


@pytest.mark.parametrize("unit", ["<think>", "</answer>", "<think>a</think>", GOOD, "<", " "])
def test_a_hostile_megabyte_is_checked_at_once(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    started = time.process_time()
    assert score(text) == 0.0
    assert time.process_time() - started < 0.5
