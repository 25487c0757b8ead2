"""Sizes as options, what they refuse, and the numbers of the reference's sections G.1 and G.2."""

import dataclasses
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DeepseekV2Config, DeepseekV2ForCausalLM, DeepseekV3ForCausalLM

from ponder.describe import field_texts
from ponder_deepseek import DeepseekConfig
from ponder_deepseek.counts import (
    active_parameters,
    cache_bytes_per_token,
    cache_values_per_token,
    forward_operations_per_token,
    parameters,
    training_operations_per_token,
)
from ponder_deepseek.mtp import mtp_modules
from ponder_deepseek.policy import DeepseekPolicy
from ponder_deepseek.presets import configuration, preset, sizes_of
from ponder_deepseek.sizes import PRESETS, TINY, V2, V2_LITE, V3_671B, Sizes

PUBLISHED = {"v3_671b": 671_026_404_352, "v2": 235_741_434_880, "v2_lite": 15_706_484_224}


def counted(model):
    """Parameters of the main model, without the modules for multi-token prediction."""
    further = sum(parameter.numel() for module in mtp_modules(model) for parameter in module.parameters())
    return sum(parameter.numel() for parameter in model.parameters()) - further


@pytest.mark.parametrize(("name", "number"), PUBLISHED.items())
def test_the_published_sizes_have_the_published_number_of_parameters(name, number):
    model = DeepseekPolicy(DeepseekConfig(preset=name)).model
    assert counted(model) == parameters(PRESETS[name]) == number
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert model.config.initializer_range == 0.006


def test_the_routing_biases_of_v3_are_buffers_beside_the_parameters():
    model = DeepseekPolicy(DeepseekConfig(preset="v3_671b", mtp_depth=0)).model
    buffers = [buffer.numel() for name, buffer in model.named_buffers() if name.endswith("e_score_correction_bias")]
    assert sum(buffers) == 14_848


@pytest.mark.parametrize("sizes", [V2, V2_LITE], ids=["v2", "v2_lite"])
def test_transformers_own_v2_has_as_many_parameters(sizes):
    numbers = configuration(sizes, 0).to_dict()
    fields = {field.name for field in dataclasses.fields(DeepseekV2Config)}
    with torch.device("meta"):
        model = DeepseekV2ForCausalLM(DeepseekV2Config(**{name: numbers[name] for name in fields & set(numbers)}))
    assert counted(model) == parameters(sizes)


def test_the_active_parameters_of_the_reference():
    assert active_parameters(V3_671B) == 36_625_603_584
    assert round(active_parameters(V2) / 1e9, 2) == 20.85
    assert round(active_parameters(V2_LITE) / 1e9, 3) == 2.451


def test_the_cache_of_the_reference():
    assert cache_values_per_token(V3_671B) == 35_136 == 576 * 61
    assert cache_bytes_per_token(V3_671B) == 70_272
    assert cache_values_per_token(V2) == 34_560
    assert cache_values_per_token(V2_LITE) == 15_552


def test_the_operations_of_the_reference():
    assert training_operations_per_token(V3_671B, 4096) / 1e9 == pytest.approx(250.45, abs=0.005)
    assert forward_operations_per_token(V3_671B, 4096) / 1e9 == pytest.approx(83.48, abs=0.005)


@settings(max_examples=15, deadline=None)
@given(
    hidden=st.integers(1, 40),
    layers=st.integers(1, 4),
    dense=st.integers(0, 1),
    rank=st.integers(0, 9),
    shared=st.integers(0, 2),
    vocabulary=st.integers(3, 50),
)
def test_the_closed_form_counts_what_transformers_builds(hidden, layers, dense, rank, shared, vocabulary):
    sizes = dataclasses.replace(
        TINY,
        hidden_size=hidden,
        num_hidden_layers=layers,
        first_k_dense_replace=dense,
        q_lora_rank=rank,
        n_shared_experts=shared,
    )
    with torch.device("meta"):
        model = DeepseekV3ForCausalLM(configuration(sizes, vocabulary))
    assert counted(model) == parameters(sizes, vocabulary)


def test_a_count_without_a_vocabulary_is_refused():
    with pytest.raises(ValueError, match="vocabulary"):
        parameters(TINY)


GIVEN = {
    "hidden_size": 48,
    "intermediate_size": 40,
    "moe_intermediate_size": 24,
    "num_hidden_layers": 3,
    "first_k_dense_replace": 2,
    "num_attention_heads": 3,
    "q_lora_rank": 12,
    "kv_lora_rank": 20,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 6,
    "v_head_dim": 10,
    "n_routed_experts": 12,
    "n_shared_experts": 2,
    "num_experts_per_tok": 3,
    "n_group": 4,
    "topk_group": 2,
    "norm_topk_prob": False,
    "routed_scaling_factor": 1.5,
    "rms_norm_eps": 1e-5,
    "rope_theta": 5000.0,
    "yarn_factor": 4.0,
    "yarn_original_length": 128,
    "yarn_beta_fast": 16.0,
    "yarn_beta_slow": 2.0,
    "yarn_mscale": 0.707,
    "mtp_depth": 1,
    "context_length": 500,
    "init_std": 0.03,
}


def test_every_size_is_an_option_and_reaches_the_model():
    config = DeepseekPolicy(DeepseekConfig(preset="tiny", **GIVEN)).model.config
    names = {field.name for field in dataclasses.fields(Sizes)}
    assert names == {*GIVEN, "vocabulary"}
    reached = dataclasses.asdict(sizes_of(config))
    assert {**reached, "yarn_mscale": config.rope_parameters["mscale_all_dim"]} == {
        **GIVEN,
        "vocabulary": config.vocab_size,
    }


def test_every_option_has_its_text():
    assert set(field_texts(DeepseekConfig)) == {field.name for field in dataclasses.fields(DeepseekConfig)}


def test_without_options_the_sizes_are_the_presets():
    assert DeepseekConfig(preset="tiny").sizes() == TINY
    assert preset("v3_671b", 7).vocab_size == 129_280
    assert preset("tiny", 7).vocab_size == 7


def test_a_published_preset_made_small_takes_its_tokenizers_vocabulary():
    policy = DeepseekPolicy(DeepseekConfig(preset="v3_671b", **{**GIVEN, "num_hidden_layers": 3}))
    assert policy.model.get_input_embeddings().weight.shape == (len(policy.tokenizer), 48)


def test_yarn_makes_the_context_as_long_as_its_factor_says():
    sizes = DeepseekConfig(preset="v3_671b", yarn_factor=40).sizes()
    assert (sizes.yarn_original_length, sizes.context_length) == (4096, 163_840)


@pytest.mark.parametrize(
    "options",
    [
        {"n_routed_experts": 9, "n_group": 2},
        {"num_experts_per_tok": 9},
        {"num_experts_per_tok": 5, "n_group": 2},
        {"n_group": 8},
        {"topk_group": 2},
        {"qk_rope_head_dim": 7},
        {"yarn_factor": 0.5},
        {"yarn_factor": float("inf")},
        {"yarn_original_length": 64},
        {"yarn_beta_fast": 1.0},
        {"context_length": 5000, "yarn_factor": 2.0},
        {"first_k_dense_replace": 4},
        {"hidden_size": 0},
        {"num_attention_heads": -1},
        {"rope_theta": 1.0},
        {"routed_scaling_factor": float("nan")},
        {"q_lora_rank": -1},
    ],
    ids=str,
)
def test_impossible_sizes_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        DeepseekConfig(**options)


@pytest.mark.parametrize("options", [{"hidden_size": 64}, {"corpus": "web"}, {"preset": "tiny"}, {"yarn_factor": 2.0}])
def test_a_checkpoint_goes_with_no_sizes_of_ones_own(options, tmp_path):
    with pytest.raises(ValueError, match="path"):
        DeepseekConfig(path=tmp_path, **options)


def test_options_are_checked_without_torch():
    code = "import sys; from ponder_deepseek import DeepseekConfig; DeepseekConfig(hidden_size=8); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
