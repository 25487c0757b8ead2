"""Decoding through a transformers cache is exact: padding, expansion to groups and leaving rows change nothing."""

from __future__ import annotations

import pytest
import torch

from ponder_sampling.transformers_decoder import TransformersDecoder

PROMPTS = ([40, 41, 42, 43, 44, 45, 46], [50], [60, 61, 62])


def _right_padded() -> tuple[torch.Tensor, torch.Tensor]:
    rows = [prompt + [0] * (7 - len(prompt)) for prompt in PROMPTS]
    return torch.tensor(rows), torch.tensor([len(prompt) for prompt in PROMPTS])


def _alone(model, token_ids) -> torch.Tensor:
    return model(input_ids=torch.tensor([token_ids])).logits[0, -1]


@pytest.mark.parametrize("architecture", ["deepseek_v3", "qwen2", "qwen2_sliding", "llama"])
@torch.inference_mode()
def test_padded_logits_equal_those_of_each_prompt_alone(make_policy, architecture: str) -> None:
    model = make_policy(architecture).model.eval()
    decoder = TransformersDecoder(model)
    logits = decoder.prefill(*_right_padded(), capacity=4)
    for row, prompt in enumerate(PROMPTS):
        assert torch.allclose(logits[row], _alone(model, prompt), atol=1e-5)


@pytest.mark.parametrize("architecture", ["deepseek_v3", "qwen2", "qwen2_sliding", "llama"])
@torch.inference_mode()
def test_logits_stay_exact_when_prompts_expand_to_groups_and_rows_leave(make_policy, architecture: str) -> None:
    model = make_policy(architecture).model.eval()
    decoder = TransformersDecoder(model)
    decoder.prefill(*_right_padded(), capacity=4)
    decoder.select(torch.tensor([2, 2, 0, 1]))
    logits = decoder.step(torch.tensor([70, 71, 72, 73]))
    assert torch.allclose(logits[1], _alone(model, [*PROMPTS[2], 71]), atol=1e-5)
    decoder.select(torch.tensor([3, 0]))
    logits = decoder.step(torch.tensor([80, 81]))
    assert torch.allclose(logits[0], _alone(model, [*PROMPTS[1], 73, 80]), atol=1e-5)
    assert torch.allclose(logits[1], _alone(model, [*PROMPTS[2], 70, 81]), atol=1e-5)


@torch.inference_mode()
def test_a_second_prefill_starts_afresh(make_policy) -> None:
    model = make_policy("qwen2").model.eval()
    decoder = TransformersDecoder(model)
    first = decoder.prefill(*_right_padded(), capacity=4)
    decoder.step(torch.tensor([70, 71, 72]))
    assert torch.equal(decoder.prefill(*_right_padded(), capacity=4), first)


@torch.inference_mode()
def test_a_cache_that_a_trainer_switched_off_is_used_all_the_same(make_policy) -> None:
    model = make_policy("llama").model.eval()
    model.config.use_cache = False
    decoder = TransformersDecoder(model)
    decoder.prefill(*_right_padded(), capacity=4)
    logits = decoder.step(torch.tensor([70, 71, 72]))
    assert torch.allclose(logits[0], _alone(model, [*PROMPTS[0], 70]), atol=1e-5)
    assert model.config.use_cache is False
