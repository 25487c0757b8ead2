"""Absorbed decoding over the latent cache against the model's own forward."""

import dataclasses

import pytest
import torch
from transformers import DeepseekV3ForCausalLM

from ponder_deepseek import latent_layers
from ponder_deepseek.counts import cache_bytes_per_token
from ponder_deepseek.decoding import LatentDecoder
from ponder_deepseek.presets import configuration
from ponder_deepseek.sizes import TINY

VARIANTS = {
    "plain": {},
    "query compression": {"q_lora_rank": 12},
    "groups": {"n_routed_experts": 8, "n_group": 4, "topk_group": 2},
    "half rotation": {},
    "yarn": {"yarn_factor": 4.0, "yarn_original_length": 64, "context_length": 256},
}


@pytest.fixture(params=VARIANTS)
def model(request):
    torch.manual_seed(0)
    config = configuration(dataclasses.replace(TINY, **VARIANTS[request.param]), 50)
    config.rope_interleave = request.param != "half rotation"
    return DeepseekV3ForCausalLM(config).eval()


def uncached_logits(model, row):
    with torch.inference_mode():
        return model(torch.tensor([row])).logits[0, -1]


def test_decoding_rows_of_unequal_length_equals_the_plain_forward(model):
    prompts, answers = [[3, 4, 5, 6, 7], [8, 9]], [[10, 11, 12, 13], [14, 15, 16, 17]]
    decoder = LatentDecoder(model)
    padded = torch.tensor([prompts[0], [*prompts[1], 0, 0, 0]])
    with torch.inference_mode():
        logits = decoder.prefill(padded, torch.tensor([5, 2]), capacity=4)
        for place in range(4):
            for row in range(2):
                expected = uncached_logits(model, prompts[row] + answers[row][:place])
                torch.testing.assert_close(logits[row], expected, atol=1e-5, rtol=1e-5)
            logits = decoder.step(torch.tensor([answers[0][place], answers[1][place]]))


def test_selected_rows_go_on_as_if_they_had_been_alone(model):
    decoder = LatentDecoder(model)
    with torch.inference_mode():
        decoder.prefill(torch.tensor([[3, 4, 5], [6, 7, 8]]), torch.tensor([3, 3]), capacity=4)
        decoder.select(torch.tensor([1, 1, 0]))
        decoder.step(torch.tensor([20, 21, 22]))
        decoder.select(torch.tensor([1]))
        logits = decoder.step(torch.tensor([30]))
    torch.testing.assert_close(logits[0], uncached_logits(model, [6, 7, 8, 21, 30]), atol=1e-5, rtol=1e-5)


def test_the_cache_has_as_many_bytes_as_are_counted(model):
    decoder = LatentDecoder(model)
    with torch.inference_mode():
        decoder.prefill(torch.tensor([[3, 4, 5]]), torch.tensor([3]), capacity=1)
    held = sum(latent[0, 0].nbytes for latent in decoder._latents)
    assert held == cache_bytes_per_token(TINY, bytes_per_value=4)


@pytest.mark.parametrize("limit", ["FEW_EXPERTS", "FEW_TOKENS"])
def test_many_experts_or_tokens_go_through_the_models_own_mixture(model, limit, monkeypatch):
    monkeypatch.setattr(latent_layers, limit, 0)
    decoder = LatentDecoder(model)
    with torch.inference_mode():
        decoder.prefill(torch.tensor([[3, 4, 5]]), torch.tensor([3]), capacity=1)
        logits = decoder.step(torch.tensor([20]))
    torch.testing.assert_close(logits[0], uncached_logits(model, [3, 4, 5, 20]), atol=1e-5, rtol=1e-5)


def test_decoding_in_bfloat16_is_as_near_to_float32_as_the_plain_forward_is(model):
    expected = uncached_logits(model, [3, 4, 5, 20])
    rounded = uncached_logits(model.bfloat16(), [3, 4, 5, 20]).float()
    decoder = LatentDecoder(model)
    with torch.inference_mode():
        decoder.prefill(torch.tensor([[3, 4, 5]]), torch.tensor([3]), capacity=1)
        logits = decoder.step(torch.tensor([20]))[0]
    assert logits.dtype == torch.bfloat16
    assert (logits.float() - expected).abs().max() < 3 * (rounded - expected).abs().max()


def test_a_decoder_has_the_weights_of_its_last_prefill(model):
    decoder, prompt = LatentDecoder(model), (torch.tensor([[3, 4, 5]]), torch.tensor([3]))
    with torch.inference_mode():
        decoder.prefill(*prompt, capacity=1)
        for parameter in model.parameters():
            parameter.mul_(1.1)
        decoder.prefill(*prompt, capacity=1)
        logits = decoder.step(torch.tensor([20]))
    torch.testing.assert_close(logits[0], uncached_logits(model, [3, 4, 5, 20]), atol=1e-5, rtol=1e-5)
