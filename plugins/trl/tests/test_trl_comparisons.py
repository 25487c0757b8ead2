"""What a reward model is shown, which rows are refused or left out, and which are held out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder import Example
from ponder.errors import InputError
from ponder_trl.comparisons import (
    Comparison,
    balance_lengths,
    check_rows,
    length_bias,
    make_comparisons,
    split_by_prompt,
)
from ponder_trl.reward_configs import RewardModelConfig
from ponder_trl.shown import shown_part, shown_tokens

ASKED = [{"role": "user", "content": "Why?"}]


def pair(chosen, rejected, prompt="Why?"):
    return Example([{"role": "user", "content": prompt}], metadata={"chosen": chosen, "rejected": rejected})


def config(**options):
    return RewardModelConfig(**{"policy": "base", "task": "pairs", **options})


def comparison(better, worse, prompt="a"):
    return Comparison(prompt, [0] * better, [0] * worse)


@pytest.mark.parametrize(
    ("response", "summary"),
    [
        ("<think>\nhm\n</think>\n\nBecause.", "Because."),
        ("hm\n</think>\n\nBecause.", "Because."),
        ("<think>hm</think> <answer>7</answer>", "7"),
        ("Because.", "Because."),
        ("<think>\nBecause", None),
        ("<think>\nhm\n</think>\n ", None),
        ("", None),
    ],
)
def test_the_summary_is_what_follows_the_reasoning(response, summary):
    assert shown_part(Example(ASKED), response, "summary") == summary


def test_the_whole_response_has_the_tag_that_its_prompt_held():
    assert shown_part(Example("Why? <think>\n"), "hm</think> So.", "response") == "<think>hm</think> So."
    assert shown_part(Example("Why? <think>\n"), "So.", "summary") is None


def test_the_prompt_ends_before_a_prefilled_tag_and_the_end_of_sequence_is_last(thinking_tokenizer):
    ids = shown_tokens(thinking_tokenizer, Example(ASKED), "Because.")
    assert thinking_tokenizer.decode(ids) == "<|user|>Why?<|assistant|>Because.<eos>"


@given(st.text() | st.text("<>/think answer\ud800"))
def test_any_text_can_be_shown(response):
    part = shown_part(Example(ASKED), response, "summary")
    assert part is None or part.strip() == part != ""


@pytest.mark.parametrize(
    ("example", "problem"),
    [
        (Example("q", metadata={"chosen": "a"}), "1 of 3 rows have no column `rejected`: row 2"),
        (pair("a", 7), "have a `rejected` that is no text: row 2"),
        (pair(" \n", "b"), "have an empty `chosen`: row 2"),
        (pair("a", " a\n"), "have the same text as `chosen` and as `rejected`: row 2"),
    ],
)
def test_rows_that_are_no_pairs_are_named(example, problem):
    with pytest.raises(InputError, match="'pairs' cannot train a reward model") as caught:
        check_rows([pair("a", "b"), example, pair("c", "d")], config())
    assert problem in str(caught.value)


def test_every_kind_of_problem_is_told_at_once_with_its_rows():
    with pytest.raises(InputError, match=r"7 of 8 rows have no column `chosen`: row 1, 2, 3, 4, 5 \.\.\.") as caught:
        check_rows([*[Example("q")] * 7, pair("a", "")], config())
    assert "1 of 8 rows have an empty `rejected`: row 8" in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "problem"),
    [([1, 2, 0], "1 of 3 rows have no `label` that is 1"), ([1, True, 1.0], "3 of 3 rows have the same label")],
)
def test_labels_must_be_ones_and_zeros_and_both(labels, problem):
    examples = [Example("q", metadata={"response": "r", "label": label}) for label in labels]
    with pytest.raises(InputError, match=problem):
        check_rows(examples, config(kind="pointwise"))


def test_a_task_without_examples_is_refused():
    with pytest.raises(InputError, match="no examples"):
        check_rows([], config())


def test_what_cannot_be_used_is_left_out_and_counted(tokenizer):
    examples = [
        *[pair(f"<think>a</think>yes {n}", f"<think>b</think>no {n}") for n in range(4)],
        pair("<think>a</think>same", "<think>b</think>same"),
        pair("<think>a</think>yes", "<think>never ends"),
        pair("<think>a</think>yes", "no" * 50),
    ]
    found = make_comparisons(examples, tokenizer, config(), 60, seed=1)
    assert len(found.train) + len(found.held_out) == 4
    assert list(found.left_out.values()) == [1, 1, 1]
    assert "are longer than 60 tokens" in found.left_out
    shown_whole = make_comparisons(examples, tokenizer, config(sees="response"), 300, seed=1)
    assert len(shown_whole.train) + len(shown_whole.held_out) == 7


def test_too_few_usable_rows_are_refused_with_the_reasons(tokenizer):
    with pytest.raises(InputError, match=r"1 of 2 rows can be used.*1 are longer than 40 tokens"):
        make_comparisons([pair("yes", "no"), pair("yes", "no" * 50)], tokenizer, config(), 40, seed=1)


def test_length_bias_is_the_share_of_longer_winners():
    assert length_bias([comparison(3, 2), comparison(2, 3), comparison(5, 1), comparison(2, 2)]) == pytest.approx(2 / 3)
    assert length_bias([comparison(2, 2)]) is None


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4))), st.integers(0, 9))
def test_balanced_pairs_win_as_often_by_length_as_they_lose(lengths, seed):
    pairs = [comparison(*both) for both in lengths]
    kept = balance_lengths(pairs, seed)
    assert length_bias(kept) in (None, 0.5)
    longer = sum(better > worse for better, worse in lengths)
    shorter = sum(better < worse for better, worse in lengths)
    assert len(kept) == len(pairs) - abs(longer - shorter)


@given(st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=40), st.floats(0.01, 0.99), st.integers(0, 9))
def test_whole_prompts_are_held_out(prompts, share, seed):
    rows = [comparison(place + 1, 1, prompt) for place, prompt in enumerate(prompts)]
    train, held_out = split_by_prompt(rows, share, seed)
    assert train and held_out
    assert sorted(len(row.better) for row in (*train, *held_out)) == list(range(1, len(rows) + 1))
    assert abs(len(held_out) - share * len(rows)) <= 1
    assert len({row.prompt for row in train} & {row.prompt for row in held_out}) <= 1


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"held_out_share": 0.0}, "held_out_share"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"checkpoint_every": 0}, "checkpoint_every"),
        ({"kind": "pointwise", "balance_lengths": True}, "balance_lengths"),
    ],
)
def test_options_out_of_range_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        config(**options)
