"""What makes a response unfit: English, Chinese, sums, loops, and hostile text."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder_rejection_sampling.filters import (
    has_code_block,
    has_format,
    has_long_paragraph,
    has_loop,
    is_mixed,
    is_repetitive,
    repeated_share,
)
from ponder_rejection_sampling.words import count_words, units


def is_said_again(text):
    return is_repetitive(text, 8, 0.5)


def worked(terms):
    """A sum worked out from the left, each step with the rest of the terms."""
    steps = []
    while terms:
        steps.append(" + ".join(map(str, terms)))
        terms = [terms[0] + terms[1], *terms[2:]] if len(terms) > 1 else []
    return " = ".join(steps)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "Step by step: 4 - 1 + 7 = 3 + 7 = 10. The answer is 10.",
        "一步一步来： 4 - 1 + 7 = 3 + 7 = 10。 答案是 10。",
        "1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 = 8",
        "5 + 5 + 5 + 5 = 10 + 5 + 5 = 15 + 5 = 20",
        worked([3] * 30),
        "The numbers are 3, 3, 3 and 3.",
        "No, no, no: that is wrong.",
        "First 4 + 3 = 7. Wait, let me check: 4 + 3 = 7. Good. Then 7 + 2 = 9. Let me check: 7 + 2 = 9. Good.",
        "哈哈哈哈，答案是七。",
        "| a | b |\n| --- | --- |\n| 1 | 2 |\n\n----------------------------------------",
    ],
)
def test_working_is_no_repetition(text):
    assert not is_said_again(text)


@pytest.mark.parametrize(
    "text",
    [
        "wait " * 12,
        "let me think again. " * 6,
        "The sum is 4. Now I will " + "check the sum once more and then " * 4,
        "我们再想一想。" * 5,
        "对" * 12,
        "3 " * 12,
        "3 + 7 = 10, " * 6,
        "1" + " + 1" * 200,
        "+ 7 = 10 " * 8,
        "= " * 12,
        "One long sentence that goes on for a while, with commas, and a number such as 17, and then ends. " * 3,
    ],
)
def test_saying_it_over_and_over_is_repetition(text):
    assert is_said_again(text)


def test_a_sum_is_one_unit_however_it_is_spaced():
    assert units("Now 3 + 7 =  10, 答案") == ["now", "3+7", "=", "10", ",", "答", "案"]
    assert units("3+7") == units("3 +  7") == ["3+7"]


def test_words_of_both_languages_and_numbers_count_one_each():
    assert count_words("I have 3.5 apples，还有 2 个梨!") == 4 + 2 + 1 + 2


@given(st.lists(st.integers(0, 9), min_size=2, max_size=12))
def test_no_sum_that_is_worked_out_is_repetition(terms):
    assert not is_said_again(f"<think>\n{worked(terms)}\n</think>\n\nThe answer is \\boxed{{{sum(terms)}}}.")


@given(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=24), st.integers(4, 8))
def test_any_passage_said_four_times_in_a_row_is_a_loop_when_it_is_long_enough(passage, times):
    assert has_loop(passage * times) or len(passage) * times < 12


@given(st.lists(st.integers(), unique=True))
def test_without_any_word_twice_there_is_neither_loop_nor_repeated_share(words):
    said = [str(word) for word in words]
    assert not has_loop(said)
    assert repeated_share(said, 1) == 0.0


@given(st.lists(st.sampled_from("ab"), max_size=60), st.integers(1, 9))
def test_the_repeated_share_is_a_share(said, ngram):
    assert 0 <= repeated_share(said, ngram) < 1


def test_the_share_counts_what_stood_before():
    assert repeated_share(list("ababab"), 2) == pytest.approx(3 / 5)


@pytest.mark.parametrize(
    ("text", "language", "tolerance", "mixed"),
    [
        ("We add from the left.", "en", 0.0, False),
        ("We add from the left. 算完了。", "en", 0.0, True),
        ("We add from the left. 算完了。", "en", 0.5, False),
        ("我们从左边开始加。", "zh", 0.0, False),
        ("我们从左边开始加。", "en", 0.0, True),
        ("4 - 1 = 3", "zh", 0.0, False),
        ("", "zh", 0.0, False),
    ],
)
def test_words_of_another_language_are_counted_against_the_tolerance(text, language, tolerance, mixed):
    assert is_mixed(text, language, tolerance) is mixed


def test_paragraphs_end_at_blank_lines_and_at_nothing_else():
    assert has_long_paragraph("one two\nthree four", 3)
    assert not has_long_paragraph("one two\n \nthree four", 3)
    assert has_long_paragraph("一二三四", 3)
    assert not has_long_paragraph("一二三", 3)


@pytest.mark.parametrize("text", ["```python\nprint(1)\n```", "so ```x``` it is", "a\n~~~\nb", "```"])
def test_fences_are_code_blocks(text):
    assert has_code_block(text)


@pytest.mark.parametrize("text", ["`x` is inline", "about ~~~ 5", "4 - 1", ""])
def test_other_text_is_no_code_block(text):
    assert not has_code_block(text)


def test_the_format_may_be_that_of_r1_zero_or_that_of_r1():
    assert has_format("<think> a </think> <answer> b </answer>")
    assert has_format("<think>\na\n</think>\n\nb")
    assert not has_format("<think> a </think>")
    assert not has_format("b")


HOSTILE = [
    "\n",
    " ",
    "1",
    "1 ",
    "1 + ",
    "1.",
    "=",
    "<think>",
    "`",
    "~~~\n",
    "a",
    "a ",
    "算",
    "\n \n",
    "-1",
    "_",
    "１",
    "é́",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_takes_linear_time(piece):
    text = piece * (200_000 // len(piece))
    started = time.process_time()
    is_said_again(text)
    has_long_paragraph(text, 300)
    has_code_block(text)
    assert time.process_time() - started < 5


@given(st.text())
def test_any_text_is_judged(text):
    for judged in (is_said_again(text), has_long_paragraph(text, 3), has_code_block(text), is_mixed(text, "en", 0.1)):
        assert isinstance(judged, bool)
