"""Duplicates, exact and near."""

import logging
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder import Example
from ponder.errors import InputError
from ponder_tasks import DeduplicatedConfig
from ponder_tasks.duplicates import Deduplicated, Removed

STORY = (
    "A farmer goes to the market with a cart full of apples and pears, sells half of what he has to the baker, gives some to "
    "the children on the road, and comes home in the evening with an empty cart and a full purse"
)


class Listed:
    def __init__(self, texts):
        self._texts = texts

    def examples(self):
        return (text if isinstance(text, Example) else Example(text) for text in self._texts)


def task(texts, **options):
    return Deduplicated(DeduplicatedConfig(task="t", **options), {"t": Listed(texts)}.__getitem__)


def kept(texts, **options):
    return [example.prompt for example in task(texts, **options).examples()]


def test_the_first_of_equal_texts_stays_whatever_their_spaces_and_case():
    assert kept(["One", "two", "one ", "ONE", "three"]) == ["One", "two", "three"]


def test_near_duplicates_go_unless_they_are_allowed():
    nearly = STORY.replace("evening", "night")
    assert kept([STORY, "something else", nearly]) == [STORY, "something else"]
    assert kept([STORY, nearly], near=None) == [STORY, nearly]


def test_another_number_or_another_sign_is_another_problem():
    words = "State the final answer to the following arithmetic problem and show every step of your working: "
    problems = [words + problem for problem in ("4 - 1 + 7 =", "4 - 1 + 8 =", "4 + 1 - 7 =", "4 - 1 + 7 = ?")]
    assert kept(problems) == problems[:3]


def test_chinese_is_compared_by_its_characters():
    text = "一个农夫推着一车苹果和梨去集市，把一半卖给了面包师，又在路上分给孩子们一些，晚上带着空车和满满的钱袋回家"
    assert kept([text, text.replace("晚上", "夜里"), "请计算下面的算式"]) == [text, "请计算下面的算式"]


def test_another_column_can_be_compared():
    examples = [Example("a", "1", {"response": "same"}), Example("b", "2", {"response": "same"}), Example("c", "1")]
    assert kept(examples[:2], column="response") == ["a"]
    assert kept(examples, column="answer") == ["a", "b"]


def test_an_example_without_the_column_is_named():
    examples = [Example("a", "1", {"response": "same"}), Example("b", None, {"kind": "talk"})]
    with pytest.raises(InputError, match=r"example 1 of task 't' has no 'response' .* this one has prompt, kind"):
        kept(examples, column="response")


def test_what_is_left_out_is_counted_and_told(caplog):
    removing = task([STORY, STORY, STORY + " again", "else"])
    with caplog.at_level(logging.WARNING, "ponder"):
        assert len(list(removing.examples())) == 2
    assert removing.removed == Removed(exact=1, near=1, of=4)
    assert "task 't': 1 exact and 1 near duplicates of 4 examples are left out" in caplog.text


def test_nothing_is_told_when_nothing_is_left_out(caplog):
    kept(["one", "two"])
    assert not caplog.text


def test_texts_without_words_are_compared_too():
    assert kept(["", "!!!", "???", "!!!"]) == ["", "!!!", "???"]


def test_what_stays_is_the_same_each_time_and_for_most_seeds():
    texts = [STORY.replace("apples", fruit) for fruit in ("plums", "nuts", "figs")] + [
        f"{n} and more" for n in range(50)
    ]
    assert kept(texts) == kept(texts)
    assert len({len(kept(texts, seed=seed)) for seed in range(5)}) == 1


def test_thousands_of_problems_with_the_same_wording_take_no_quadratic_time():
    texts = [f"State the final answer to the following arithmetic problem: {n} + {n + 1} =" for n in range(3000)]
    started = time.process_time()
    assert len(kept(texts)) == 3000
    assert time.process_time() - started < 20


@pytest.mark.parametrize("near", [0.0, 1.5])
def test_impossible_thresholds_are_named(near):
    with pytest.raises(ValueError, match="near must be above 0 and at most 1"):
        DeduplicatedConfig(task="t", near=near)


@settings(max_examples=40)
@given(st.lists(st.text(max_size=30), max_size=8), st.sampled_from([None, 0.5, 1.0]))
def test_every_text_that_goes_has_one_like_it_that_stays(texts, near):
    remaining = kept(texts, near=near)
    assert set(remaining) <= set(texts)
    assert bool(remaining) == bool(texts)
    assert kept(remaining, near=near) == remaining
