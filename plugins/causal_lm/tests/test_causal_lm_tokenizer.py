"""The students' tokenizers and chat templates."""

from __future__ import annotations

import functools
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.hf import encode_prompt, prefilled_text, render_prompt
from ponder.text import R1_ZERO_TEMPLATE
from ponder_causal_lm.templates import chat_templates
from ponder_causal_lm.tokenizer import LLAMA, QWEN, TAGS, make_tokenizer

FAMILIES = {"qwen": QWEN, "llama": LLAMA}
BOTH = pytest.mark.parametrize("name", list(FAMILIES))
QUESTION = [{"role": "user", "content": "What is 17 + 25?"}]
PAGES = [
    f"Question: what is {n} + {n} - {n % 9}? 答案是 {2 * n}。\nAnswer: <think> {n} + {n} = {2 * n}. </think> <answer> {2 * n} </answer>\nThat, really, is all.\n"
    for n in [number % 40 for number in range(200)]
]


@functools.cache
def trained(name: str, template: str = "r1"):
    tokenizer = make_tokenizer(FAMILIES[name], PAGES, 900)
    tokenizer.chat_template = chat_templates(tokenizer)[template]
    return tokenizer


def pieces(name: str, text: str) -> list[str]:
    tokenizer = trained(name)
    return [tokenizer.decode([token]) for token in tokenizer(text)["input_ids"]]


@BOTH
@given(text=st.text() | st.text(alphabet="<>/think answer0123+-=.:\n是答"))
def test_any_text_survives(name, text):
    tokenizer = trained(name)
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@BOTH
@pytest.mark.parametrize("tag", TAGS)
def test_the_tags_survive_where_special_tokens_are_left_out(name, tag):
    tokenizer = trained(name)
    assert tokenizer.decode(tokenizer(f"{tag}\n")["input_ids"], skip_special_tokens=True) == f"{tag}\n"


@BOTH
def test_a_number_is_one_token_with_its_operator(name):
    assert pieces(name, " 12 + 12 - 3 = 21") == [" 12", " + 12", " - 3", " =", " 21"]


@BOTH
def test_a_merge_may_cross_spaces(name):
    assert "Question: what is"[9:] in pieces(name, "Question: what is 3")


def test_tags_are_tokens_in_one_student_and_text_in_the_other():
    for tag in TAGS:
        assert len(trained("qwen").tokenize(tag)) == 1
        assert tag not in trained("llama").added_tokens_encoder
    assert len(trained("llama").tokenize("<thinker>")) > 1
    untrained = make_tokenizer(LLAMA, (), 420)
    assert len(untrained.tokenize("<think>")) == len("<think>")


def test_a_merge_ends_with_a_clause_in_one_student_alone():
    text = "That, really, is all.\n"
    assert pieces("llama", text) == ["That,", " really,", " is all.\n"]
    assert pieces("qwen", text) == [text]


@BOTH
@pytest.mark.parametrize("template", ["r1_zero", "r1"])
@given(answer=st.text(min_size=1))
def test_a_prompt_is_cut_the_same_way_with_and_without_an_answer(name, template, answer):
    tokenizer = trained(name, template)
    prompt = encode_prompt(tokenizer, QUESTION)
    separator = "" if template == "r1" else " "
    whole = render_prompt(tokenizer, QUESTION) + separator + answer.lstrip(":：\n")
    ids = tokenizer(unicodedata.normalize("NFC", whole), add_special_tokens=False)["input_ids"]
    assert ids[: len(prompt)] == prompt


@BOTH
def test_the_r1_zero_template_is_the_papers_prompt(name):
    tokenizer = trained(name, "r1_zero")
    assert render_prompt(tokenizer, QUESTION) == R1_ZERO_TEMPLATE.format(prompt="What is 17 + 25?")
    assert prefilled_text(tokenizer, QUESTION) == ""


CHATML = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat is 17 + 25?<|im_end|>\n"
    "<|im_start|>assistant\nIt is 42.<|im_end|>\n<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\n<think>\n"
)
HEADERS = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nWhat is 17 + 25?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nIt is 42.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nSure?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n<think>\n"
)


@pytest.mark.parametrize(("name", "expected"), [("qwen", CHATML), ("llama", HEADERS)])
def test_the_r1_template_opens_the_thinking_and_forgets_earlier_thoughts(name, expected):
    history = [
        {"role": "system", "content": "Be brief."},
        *QUESTION,
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nIt is 42."},
        {"role": "user", "content": "Sure?"},
    ]
    assert render_prompt(trained(name), history) == expected
    assert prefilled_text(trained(name), QUESTION) == "<think>\n"


@BOTH
def test_role_tokens_are_one_token_each_and_are_not_spoken(name):
    tokenizer = trained(name)
    for token in FAMILIES[name].special:
        (number,) = tokenizer(token, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode([number], skip_special_tokens=True) == ""


def test_an_assistants_turn_ends_with_the_token_that_generation_stops_at():
    tokenizer = make_tokenizer(QWEN, (), 300)
    tokenizer.eos_token = "<|endoftext|>"
    tokenizer.chat_template = chat_templates(tokenizer)["r1"]
    said = tokenizer.apply_chat_template([*QUESTION, {"role": "assistant", "content": "42"}], tokenize=False)
    assert said.endswith("<|im_start|>assistant\n42<|endoftext|>\n")
