"""From rows to token ids: what is read, what is learnt, and what is refused with its row's number."""

import re

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ponder import Example
from ponder.errors import InputError
from ponder.hf import encode_prompt
from ponder_trl.conversations import read_conversations


def ask(content="1+1?", answer=None, **metadata):
    return Example([{"role": "user", "content": content}], answer, metadata)


def parts(conversation, tokenizer):
    """The text that is read and the text that is learnt."""
    tokens = conversation.tokens.tolist()
    return tokenizer.decode(tokens[: conversation.prompt_length]), tokenizer.decode(
        tokens[conversation.prompt_length :]
    )


def test_the_prompt_is_read_and_the_response_with_its_end_is_learnt(tokenizer):
    [conversation] = read_conversations([ask(response="It is 2.")], tokenizer, "rows")
    assert parts(conversation, tokenizer) == ("<|user|>1+1?<|assistant|>", "It is 2.<eos>")
    assert conversation.learnt == len("It is 2.") + 1


def test_the_prompts_tokens_are_those_that_a_sampler_gives_the_policy(tokenizer):
    example = ask("你好, Füße?", response="好")
    [conversation] = read_conversations([example], tokenizer, "rows")
    assert conversation.tokens[: conversation.prompt_length].tolist() == encode_prompt(tokenizer, example.prompt)


def test_a_row_without_a_response_is_learnt_from_its_answer(tokenizer):
    rows = read_conversations([ask(answer="2"), ask(answer="2", response="two")], tokenizer, "rows")
    assert [parts(row, tokenizer)[1] for row in rows] == ["2<eos>", "two<eos>"]


def test_a_plain_text_prompt_is_read_as_it_is(tokenizer):
    [conversation] = read_conversations([Example("1+1=", "2")], tokenizer, "rows")
    assert parts(conversation, tokenizer) == ("1+1=", "2<eos>")


def test_earlier_turns_are_read_and_not_learnt(tokenizer):
    turns = [
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "And 2+2?"},
    ]
    [conversation] = read_conversations([Example(turns, "4")], tokenizer, "rows")
    assert parts(conversation, tokenizer) == ("<|user|>1+1?<|assistant|>2<|user|>And 2+2?<|assistant|>", "4<eos>")


def test_what_the_template_prefills_is_read_and_not_learnt(thinking_tokenizer):
    [conversation] = read_conversations([ask(response="<think>\n1+1=2\n</think>\n\n2")], thinking_tokenizer, "rows")
    read, learnt = parts(conversation, thinking_tokenizer)
    assert read == "<|user|>1+1?<|assistant|><think>\n"
    assert learnt == "1+1=2\n</think>\n\n2<eos>"


@pytest.mark.parametrize("response", ["2", "<think>1+1=2</think>2", "Well, <think>\n1+1=2\n</think>\n\n2"])
def test_a_response_that_begins_otherwise_than_the_template_is_refused(thinking_tokenizer, response):
    good = ask(response="<think>\n\n</think>\n\n2")
    with pytest.raises(InputError, match=r"1 row\(s\).*\n  row 2: the chat template begins the response with '<think>"):
        read_conversations([good, ask(response=response)], thinking_tokenizer, "rows")


def test_nothing_behind_the_prefill_is_an_empty_response(thinking_tokenizer):
    with pytest.raises(InputError, match="row 1: the response is empty behind"):
        read_conversations([ask(response="<think>\n")], thinking_tokenizer, "rows")


@pytest.mark.parametrize(
    ("example", "problem"),
    [
        (ask(), "neither a response nor an answer"),
        (ask(response="  \n"), "the response is empty"),
        (ask(response="<eos>"), "the response is empty"),
        (ask(response=["2"]), "no text but list"),
        (ask(response="2<eos>3"), "'<eos>' stands in the middle"),
    ],
)
def test_rows_that_nothing_can_be_learnt_from_are_named(tokenizer, example, problem):
    with pytest.raises(InputError, match=rf"task 'rows': 1 row\(s\).*\n  row 2: .*{re.escape(problem)}"):
        read_conversations([ask(response="2"), example], tokenizer, "rows")


def test_many_bad_rows_are_counted_and_the_first_ones_named(tokenizer):
    with pytest.raises(InputError) as error:
        read_conversations([ask()] * 1200, tokenizer, "rows")
    lines = str(error.value).splitlines()
    assert lines[0] == "task 'rows': 1,200 row(s) that cannot be learnt from"
    assert lines[5].startswith("  row 5:")
    assert lines[6] == "  and 1,195 more"


def test_a_prompt_that_the_template_refuses_is_named_with_its_row(tokenizer):
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(InputError, match="row 1: roles must alternate"):
        read_conversations([ask(response="2")], tokenizer, "rows")


def test_a_task_without_rows_is_refused(tokenizer):
    with pytest.raises(InputError, match="no rows"):
        read_conversations([], tokenizer, "rows")


def test_an_end_that_the_response_has_already_is_not_doubled(tokenizer):
    [conversation] = read_conversations([ask(response="2<eos>")], tokenizer, "rows")
    assert parts(conversation, tokenizer)[1] == "2<eos>"


def test_a_tokenizer_that_begins_every_text_with_a_space_does_not_put_one_before_the_response():
    words = {"<eos>": 0, "<unk>": 1, "▁a": 2, "a": 3, "b": 4, "▁b": 5}
    pieces = Tokenizer(models.WordPiece(words, unk_token="<unk>", continuing_subword_prefix=""))
    pieces.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces, eos_token="<eos>", unk_token="<unk>")
    [conversation] = read_conversations([Example("a", "b")], tokenizer, "rows")
    assert conversation.tokens.tolist() == [2, 4, 0]


def test_a_response_that_grows_together_with_the_prompt_is_cut_where_a_sampler_cuts_it():
    words = {"<eos>": 0, "a": 1, "b": 2, "ab": 3}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(words, [("a", "b")])), eos_token="<eos>")
    assert tokenizer("ab")["input_ids"] == [3]
    [conversation] = read_conversations([Example("a", "b")], tokenizer, "rows")
    assert conversation.tokens.tolist() == [1, 2, 0]
