import time
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder import Example
from ponder.text import (
    R1_ZERO_TEMPLATE,
    extract_answer,
    is_well_formed,
    language_share,
    mixes_languages,
    question_language,
    reflective_words,
    resolve_language,
    split_response,
)

pieces = st.sampled_from(
    [
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "\\boxed{",
        "{",
        "}",
        "\\",
        "$",
        "`",
        "wait",
        "等",
        "4",
        " ",
        "\n",
        "\ud800",
    ]
)
tagged_text = st.lists(pieces | st.text(max_size=3), max_size=30).map("".join)
spoken = st.text(alphabet="abc 你7+=", max_size=12).map(str.strip).filter(bool)


def test_the_template_ends_where_the_assistant_begins() -> None:
    prompt = R1_ZERO_TEMPLATE.format(prompt="What is {1}?")
    assert prompt.endswith("User: What is {1}? Assistant:")


@given(spoken, spoken)
def test_a_tagged_response_splits_into_what_was_put_in(reasoning: str, answer: str) -> None:
    response = split_response(f"<think> {reasoning} </think> <answer> {answer} </answer>")
    assert (response.reasoning, response.answer) == (reasoning, answer)


@given(spoken, spoken)
def test_a_think_tag_that_the_prompt_held_is_understood(reasoning: str, answer: str) -> None:
    response = split_response(f"{reasoning}</think><answer>{answer}</answer>")
    assert (response.reasoning, response.answer) == (reasoning, answer)


def test_reasoning_that_was_cut_off_is_reasoning() -> None:
    assert split_response("<think>so far 3").reasoning == "so far 3"
    assert split_response("<think>so far 3").answer is None


def test_unclosed_reasoning_ends_where_the_answer_begins() -> None:
    response = split_response("<think>so 3 <answer>3</answer>")
    assert (response.reasoning, response.answer) == ("so 3", "3")


def test_plain_text_has_neither_reasoning_nor_answer() -> None:
    response = split_response("just 4")
    assert response.reasoning is None
    assert response.answer is None


@given(tagged_text)
def test_no_text_makes_the_readers_raise(text: str) -> None:
    split_response(text)
    assert isinstance(extract_answer(text), str)
    assert reflective_words(text) >= 0
    share = language_share(text, "en")
    assert share is None or 0.0 <= share <= 1.0


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<answer>3</answer> or <answer> 4 </answer>", "4"),
        ("<answer>3</answer> <answer>4", "3"),
        ("<answer>a<answer>b</answer></answer>", "b"),
        ("<answer>It is \\boxed{4}.</answer>", "4"),
        ("<answer></answer>", ""),
        ("\\boxed{3}, no, \\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{\\boxed{5}}", "5"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\boxed{3} and \\boxed{4", "3"),
        ("\\boxed{3}. Final Answer: The final answer is $4$. I hope it is correct. Note: 5", "$4$"),
        ("The final answer is: .5. I hope it is correct. No: \\boxed{3}", "3"),
        ("The final answer is $\\boxed{3}$. I hope it is correct.", "3"),
        ("\\boxed{3} The final answer is . I hope it is correct.", "3"),
        ("The final answer is .5. I hope it is correct.", ".5"),
        ("2+2 is</think>\n4\n", "4"),
        ("<think>\\boxed{3}?</think> It is 4.", "It is 4."),
        ("<think>\\boxed{3}</think> \n", "3"),
        ("  4 ", "4"),
        ("", ""),
    ],
)
def test_the_answer_is_the_last_one_in_the_best_place(text: str, answer: str) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "language", "share"),
    [
        ("word " * 20, "en", 1.0),
        ("the cat sat " * 6 + "因此 答案", "en", 0.9),
        ("we add them all " + "思考" * 8 + "我们" * 4, "en", 4 / 16),
        ("the sum is four now " + "思考" * 15, "en", 0.25),
        ("思考" * 30 + " word" * 10, "zh", 0.75),
        ("我们 " * 30 + "word " * 10, "zh", 0.75),
        ("我认为这个答案是正确的", "zh", 1.0),
    ],
)
def test_the_share_of_a_language_is_its_words_among_all_words(
    text: str, language: Literal["en", "zh"], share: float
) -> None:
    assert language_share(text, language) == share


@pytest.mark.parametrize(
    "noise",
    [
        "12 + 30 = 42",
        "x = 3y",
        "a^2 + b^2 = c^2",
        "I = 5",
        "x-a = f(a)",
        "gcd(12, 8)",
        "$\\text{我们} = x$",
        "$$\n我们\n$$",
        "\\(我们\\)",
        "\\[我们\\]",
        "\\begin{align}我们\\end{align}",
        "\\frac{我们}{他们}",
        "<think></think><answer></answer>",
        "<|我们|>",
        "```\n我们 = 1\n```",
        "`我们`",
        "17",
    ],
)
def test_mathematics_code_and_tags_are_no_words(noise: str) -> None:
    assert language_share(f"four words are here {noise}", "en") == 1.0
    assert language_share(noise, "en") is None


def test_prices_are_no_formulas() -> None:
    assert language_share("it costs $5 我们 and $6 now", "en") == 4 / 5


def test_words_of_other_scripts_count_in_the_denominator() -> None:
    assert language_share("one два ひらがな", "en") == 1 / 3


def test_hyphens_and_apostrophes_join_a_word() -> None:
    assert language_share("I don't go step-by-step 我们", "en") == 4 / 5


@pytest.mark.parametrize("text", ["所以 a=3", "因此 a + b = c", "点 A 和 I 重合", "计算 sin(x)", "因为 a-b = 4"])
def test_variables_and_function_names_in_chinese_are_not_english(text: str) -> None:
    assert language_share(text, "zh") == 1.0


def test_a_and_i_are_words_beside_words() -> None:
    assert language_share("I see a cat 我们", "en") == 4 / 5


def test_a_chinese_run_is_cut_by_the_written_rule() -> None:
    # 我 | 认为 | 这个 | 答案 | 是 | 正确 | 的
    assert language_share("我认为这个答案是正确的 " + "word " * 7, "zh") == 0.5


def test_text_without_words_has_no_share() -> None:
    assert language_share("1 + 2 = 3", "en") is None


def test_two_languages_are_a_mix_unless_tolerated() -> None:
    assert mixes_languages("we think 所以")
    assert not mixes_languages("we think so")
    assert not mixes_languages("nine words of english stand here before a 所以", tolerance=0.2)
    assert not mixes_languages("1 + 1")


def test_reflective_words_count_whole_and_in_any_case() -> None:
    assert reflective_words("Wait, wait. WAIT! waiting, check-in, unchecked but") == 5


def test_chinese_reflective_words_count_once_each() -> None:
    assert reflective_words("等一下，但是这个不对，再检查wait") == 5


@pytest.mark.parametrize("unit", ["\\(", "$ ", "<answer>", "\\boxed{", "<think>", "a-", "字", "`", "\\begin{a}", "<a"])
def test_long_hostile_text_is_read_in_linear_time(unit: str) -> None:
    def seconds(length: int) -> float:
        text = (unit * length)[:length]
        started = time.process_time()
        split_response(text), extract_answer(text), language_share(text, "en"), reflective_words(text)
        return time.process_time() - started

    assert seconds(200_000) < 1.5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>\n1 + 1 = 2.\n</think>\n\nThe answer is \\boxed{2}.", True),
        ("<think> a </think> b", True),
        ("<think> a </think>", False),
        ("<think> </think> b", False),
        ("x <think> a </think> b", False),
        ("<think> a </think> <answer> b </answer>", False),
        ("<think> a </think> b <think> c </think> d", False),
        ("<think> a b", False),
        ("a b", False),
    ],
)
def test_the_format_of_r1_is_reasoning_and_a_summary(text: str, expected: bool) -> None:
    assert is_well_formed(text, "r1") is expected


def test_a_response_is_well_formed_in_one_style_at_most() -> None:
    r1_zero = "<think> a </think> <answer> b </answer>"
    assert (is_well_formed(r1_zero), is_well_formed(r1_zero, "r1")) == (True, False)


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        (Example("What is 1 + 1?"), "en"),
        (Example("1 + 1 等于几？"), "zh"),
        (Example("1 + 1 ="), "en"),
        (Example([{"role": "user", "content": "你好"}, {"role": "assistant", "content": "Hello there"}]), "zh"),
        (Example("What is 1 + 1?", metadata={"language": "zh"}), "zh"),
        (Example("1 + 1 等于几？", metadata={"language": "Klingon"}), "zh"),
    ],
)
def test_a_question_is_in_the_language_its_task_names_or_in_that_of_its_words(example: Example, expected: str) -> None:
    assert question_language(example) == expected
    assert resolve_language("question", example) == expected
    assert resolve_language("en", example) == "en"


@pytest.mark.parametrize("text", ["안녕하세요 세계", "\ue000\ue001", "\ud800"])
def test_what_lies_between_the_blocks_of_ideographs_is_not_chinese(text: str) -> None:
    assert language_share(text, "zh") in (None, 0.0)


def test_a_compatibility_ideograph_is_chinese() -> None:
    assert language_share("\uf900\uf901", "zh") == 1.0
