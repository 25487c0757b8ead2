"""Absorbed decoding over the latent cache against the model's own forward."""

import pytest
import torch
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

from ponder_deepseek.decoding import LatentDecoder
from ponder_deepseek.presets import preset

YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
    "mscale_all_dim": 1.0,
}
VARIANTS = {
    "plain": {},
    "query compression": {"q_lora_rank": 12},
    "groups": {"n_routed_experts": 8, "n_group": 4, "topk_group": 2},
    "half rotation": {"rope_interleave": False},
    "yarn": {"rope_parameters": YARN},
}


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def model(request):
    torch.manual_seed(0)
    return DeepseekV3ForCausalLM(DeepseekV3Config(**{**preset("tiny", 50).to_dict(), **request.param})).eval()


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


def test_the_cache_holds_the_latent_and_the_shared_rotary_key_alone(model):
    decoder = LatentDecoder(model)
    with torch.inference_mode():
        decoder.prefill(torch.tensor([[3, 4, 5]]), torch.tensor([3]), capacity=1)
    assert {latent.shape[-1] for latent in decoder._latents} == {
        model.config.kv_lora_rank + model.config.qk_rope_head_dim
    }
