"""Streaming: the same text as sampling, in whole characters, and nothing left behind."""

from __future__ import annotations

import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ponder import Example
from ponder.errors import InputError, StageError
from ponder_sampling import FastConfig, GenerateConfig
from ponder_sampling.fast import FastSampler
from ponder_sampling.generate import GenerateSampler
from ponder_sampling.streaming import GrowingText, in_background

BOTH = pytest.mark.parametrize("make", ["fast", "generate"])
QUESTION = Example([{"role": "user", "content": "Hi"}])
PREFILLING = "{{ messages[0]['content'] }}{% if add_generation_prompt %}<think>\n{% endif %}"


def build(name: str, **options):
    return FastSampler(FastConfig(**options)) if name == "fast" else GenerateSampler(GenerateConfig(**options))


def listen(stream):
    """The pieces, and what the generator returned."""
    pieces = []
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            return pieces, end.value


@BOTH
@pytest.mark.parametrize("architecture", ["deepseek_v3", "qwen2", "llama"])
@pytest.mark.parametrize("seed", range(4))
def test_what_is_streamed_is_what_is_sampled(make_policy, make: str, architecture: str, seed: int) -> None:
    policy, sampler = make_policy(architecture), build(make, max_new_tokens=24)
    [[expected]] = sampler.sample(policy, [Example("Hi")], 1, seed)
    pieces, completion = listen(sampler.stream(policy, Example("Hi"), seed))
    assert "".join(pieces) == expected.text
    assert completion == expected
    assert all(pieces)


@BOTH
def test_what_the_template_prefills_comes_first(make_policy, make: str) -> None:
    policy, sampler = make_policy(), build(make, max_new_tokens=3)
    policy.tokenizer.chat_template = PREFILLING
    pieces, completion = listen(sampler.stream(policy, QUESTION, 0))
    assert pieces[0] == "<think>\n"
    assert "".join(pieces) == completion.text == sampler.sample(policy, [QUESTION], 1, 0)[0][0].text


def test_pieces_come_while_the_rest_is_still_to_be_drawn(make_scripted) -> None:
    policy = make_scripted({"a": list("12345")})
    stream = build("fast").stream(policy, Example("a"), 0)
    assert [next(stream), next(stream)] == ["1", "2"]
    assert len(policy.script.stepped) == 1


@BOTH
def test_a_limit_is_told_by_the_completion(make_policy, make: str) -> None:
    policy = make_policy()
    policy.tokenizer.add_special_tokens({"eos_token": "<answer>"})
    _, completion = listen(build(make, max_new_tokens=2).stream(policy, Example("Hi"), 0))
    assert completion.finish_reason == "length"


@BOTH
def test_between_pieces_the_model_and_the_thread_are_as_they_were(make_policy, make: str) -> None:
    policy = make_policy()
    policy.model.train()
    stream = build(make, max_new_tokens=20).stream(policy, Example("Hi"), 0)
    next(stream)
    assert not torch.is_inference_mode_enabled()
    if make == "fast":
        assert policy.model.training
    stream.close()
    assert policy.model.training
    assert not any("ThreadPool" in thread.name for thread in threading.enumerate())


@BOTH
def test_an_abandoned_stream_draws_no_further(make_policy, make: str) -> None:
    policy, steps = make_policy(), []
    policy.model.register_forward_hook(lambda *call: steps.append(1))
    stream = build(make, max_new_tokens=50).stream(policy, Example("Hi"), 0)
    next(stream)
    stream.close()
    assert len(steps) < 50


@BOTH
def test_a_stream_refuses_what_sampling_refuses(make_policy, make: str) -> None:
    with pytest.raises(InputError, match="has no tokens"):
        next(build(make).stream(make_policy(), Example(""), 0))
    policy = make_policy()
    with torch.no_grad():
        policy.model.lm_head.weight[3, 3] = float("nan")
    with pytest.raises(StageError, match="not finite"):
        listen(build(make, max_new_tokens=4).stream(policy, Example("Hi"), 0))


@given(text=st.text(min_size=1), prefilled=st.sampled_from(["", "<think>\n"]))
def test_pieces_are_whole_characters_and_make_up_the_text(tokenizer, text: str, prefilled: str) -> None:
    tokens = tokenizer(text)["input_ids"]
    growing = GrowingText(tokenizer, prefilled)
    pieces = [piece for end in range(1, len(tokens) + 1) for piece in growing.piece(tokens[:end])]
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text
    pieces += growing.rest(prefilled + text)
    assert "".join(pieces) == prefilled + text


@given(data=st.binary(min_size=1, max_size=12))
def test_bytes_that_are_no_text_make_up_the_text_too(tokenizer, data: bytes) -> None:
    tokens = [tokenizer.convert_tokens_to_ids(_letter(byte)) for byte in data]
    growing = GrowingText(tokenizer, "")
    pieces = [piece for end in range(1, len(tokens) + 1) for piece in growing.piece(tokens[:end])]
    whole = tokenizer.decode(tokens)
    assert "".join([*pieces, *growing.rest(whole)]) == whole


@pytest.fixture(scope="module")
def tokenizer(make_tokenizer):
    return make_tokenizer()


def _letter(byte: int) -> str:
    """The letter that byte-level tokenizers write a byte as (GPT-2)."""
    readable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return chr(byte) if byte in readable else chr(256 + [b for b in range(256) if b not in readable].index(byte))


def test_work_in_the_background_is_told_in_order_and_its_error_raised() -> None:
    def work(tell):
        tell(1)
        tell(2)
        raise StageError("lost")

    stream = in_background(work)
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(StageError, match="lost"):
        next(stream)
