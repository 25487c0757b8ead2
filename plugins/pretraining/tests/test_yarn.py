"""YaRN on models in memory, against the published table and against transformers."""

import math

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from ponder.errors import InputError
from ponder_pretraining.yarn import Yarn, apply_yarn, original_length

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
MADE = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "qwen": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "deepseek": lambda: deepseek(qk_rope_head_dim=8, qk_nope_head_dim=16, max_position_embeddings=64),
}
TABLE = {
    10: 5.623413252e-2,
    11: 3.900692657e-2,
    12: 2.687936011e-2,
    14: 1.244795587e-2,
    16: 5.5e-3,
    18: 2.249365301e-3,
    20: 7.905694150e-4,
    22: 1.778279410e-4,
    23: 3.333803580e-5,
    31: 3.333803580e-6,
}


def deepseek(**options):
    latent = {"kv_lora_rank": 16, "q_lora_rank": None, "v_head_dim": 16, "num_nextn_predict_layers": 0}
    return DeepseekV3ForCausalLM(DeepseekV3Config(**{**SIZES, **latent, "first_k_dense_replace": 1, **options}))


def yarn(factor=4.0, original=64, mscale=1.0):
    return Yarn(factor, original, 1.0, 32.0, mscale)


def test_the_published_table_of_frequencies_and_the_softmax_scale():
    model = deepseek(qk_rope_head_dim=64, qk_nope_head_dim=128, max_position_embeddings=4096)
    apply_yarn(model, yarn(40.0, 4096))
    frequencies = model.model.rotary_emb.inv_freq.tolist()
    for place in range(10):
        assert frequencies[place] == pytest.approx(10 ** (-place / 8), rel=1e-5)
    for place, expected in TABLE.items():
        assert frequencies[place] == pytest.approx(expected, rel=1e-5), place
    assert model.model.rotary_emb.attention_scaling == 1.0
    assert model.model.layers[0].self_attn.scaling == pytest.approx(0.1352337789, rel=1e-7)
    assert model.config.max_position_embeddings == 163_840


@pytest.mark.parametrize(("mscale", "expected"), [(1.0, 1.3688879454), (0.707, 1.2608037774)])
def test_the_temperature_of_v3_and_of_v2(mscale, expected):
    assert yarn(40.0, mscale=mscale).temperature == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("name", MADE)
def test_the_model_in_memory_equals_the_one_that_transformers_loads(name, tmp_path):
    torch.manual_seed(0)
    model = MADE[name]().eval()
    tokens = torch.arange(50)[None]
    plain = model(tokens).logits
    apply_yarn(model, yarn())
    scaled = model(tokens).logits
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(loaded(tokens).logits, scaled)
    assert not torch.allclose(plain, scaled)
    assert loaded.config.max_position_embeddings == 256
    assert loaded.config.rope_parameters["factor"] == 4.0


def test_outside_latent_attention_queries_and_keys_carry_the_temperature():
    model = MADE["llama"]()
    apply_yarn(model, yarn())
    assert model.model.rotary_emb.attention_scaling == pytest.approx(0.1 * math.log(4) + 1)


def test_a_second_extension_starts_from_the_same_original_length():
    model = MADE["deepseek"]()
    assert original_length(model, None) == 64
    apply_yarn(model, yarn())
    assert original_length(model, None) == 64
    once = MADE["deepseek"]()
    for each in (model, once):
        apply_yarn(each, yarn(8.0))
    assert torch.equal(model.model.rotary_emb.inv_freq, once.model.rotary_emb.inv_freq)


def test_positions_that_cannot_be_scaled_are_refused():
    with pytest.raises(InputError, match="gpt2"):
        original_length(GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=20)), None)
    scaled = LlamaConfig(**SIZES, rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0})
    with pytest.raises(InputError, match="already scaled by 'linear'"):
        original_length(LlamaForCausalLM(scaled), None)
