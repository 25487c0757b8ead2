"""Checkpoints in the released format: names, round trips, FP8, MTP layers, and what is wrong with them."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import DeepseekV3ForCausalLM

from ponder.errors import InputError
from ponder_deepseek import DeepseekConfig
from ponder_deepseek.checkpoints import load_model
from ponder_deepseek.policy import DeepseekPolicy

EXPERT = "model.layers.1.mlp.experts.2.up_proj.weight"
LAYER = {
    "input_layernorm.weight": [32],
    "post_attention_layernorm.weight": [32],
    "self_attn.q_a_proj.weight": [12, 32],
    "self_attn.q_a_layernorm.weight": [12],
    "self_attn.q_b_proj.weight": [48, 12],
    "self_attn.kv_a_proj_with_mqa.weight": [24, 32],
    "self_attn.kv_a_layernorm.weight": [16],
    "self_attn.kv_b_proj.weight": [64, 16],
    "self_attn.o_proj.weight": [32, 32],
}
MIXTURE = {
    "mlp.gate.weight": [4, 32],
    "mlp.gate.e_score_correction_bias": [4],
    "mlp.shared_experts.gate_proj.weight": [16, 32],
    "mlp.shared_experts.up_proj.weight": [16, 32],
    "mlp.shared_experts.down_proj.weight": [32, 16],
    **{f"mlp.experts.{expert}.{side}_proj.weight": [16, 32] for expert in range(4) for side in ("gate", "up")},
    **{f"mlp.experts.{expert}.down_proj.weight": [32, 16] for expert in range(4)},
}
DENSE = {
    "mlp.gate_proj.weight": [64, 32],
    "mlp.up_proj.weight": [64, 32],
    "mlp.down_proj.weight": [32, 64],
}


@pytest.fixture
def made(tmp_path):
    """A policy with query compression and a moved bias, saved in tmp_path."""
    policy = DeepseekPolicy(DeepseekConfig(preset="tiny", q_lora_rank=12), seed=3)
    policy.model.model.layers[1].mlp.gate.e_score_correction_bias += torch.tensor([0.1, -0.2, 0.3, 1e-7])
    policy.save(tmp_path)
    return policy


def change(directory, edit):
    tensors = load_file(directory / "model.safetensors")
    edit(tensors)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def set_config(directory, **values):
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def assert_equal(model, other):
    theirs = other.state_dict()
    assert model.state_dict().keys() == theirs.keys()
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == theirs[name].dtype, name
        assert torch.equal(tensor, theirs[name]), name


def test_names_and_shapes_are_those_of_the_released_weights(made, tmp_path):
    vocabulary = len(made.tokenizer)
    expected = {
        "model.embed_tokens.weight": [vocabulary, 32],
        "model.norm.weight": [32],
        "lm_head.weight": [vocabulary, 32],
        **{f"model.layers.0.{name}": shape for name, shape in {**LAYER, **DENSE}.items()},
        **{f"model.layers.1.{name}": shape for name, shape in {**LAYER, **MIXTURE}.items()},
    }
    stored = load_file(tmp_path / "model.safetensors")
    assert {name: list(tensor.shape) for name, tensor in stored.items()} == expected
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["topk_method"], config["scoring_func"]) == ("noaux_tc", "sigmoid")
    assert config["architectures"] == ["DeepseekV3ForCausalLM"]


def test_a_round_trip_is_exact_through_us_and_through_transformers(made, tmp_path):
    assert_equal(made.model, load_model(tmp_path))
    theirs = DeepseekV3ForCausalLM.from_pretrained(tmp_path)
    assert_equal(made.model, theirs)
    theirs.save_pretrained(tmp_path / "theirs")
    assert_equal(made.model, load_model(tmp_path / "theirs"))


def test_a_checkpoint_in_shards_is_the_same(made, tmp_path):
    made.model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    assert_equal(made.model, load_model(tmp_path / "shards"))


def test_a_recipes_path_brings_weights_and_tokenizer(made, tmp_path):
    again = DeepseekPolicy(DeepseekConfig(path=tmp_path))
    assert again.tokenizer.get_vocab() == made.tokenizer.get_vocab()
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(again.model(ids).logits, made.model(ids).logits)


def test_bfloat16_stays_and_the_bias_keeps_its_small_steps(made, tmp_path):
    bias = "model.layers.1.mlp.gate.e_score_correction_bias"
    change(
        tmp_path,
        lambda stored: stored.update(
            {name: tensor.bfloat16() for name, tensor in stored.items() if "correction_bias" not in name}
        ),
    )
    set_config(tmp_path, dtype="bfloat16")
    model = load_model(tmp_path)
    assert model.lm_head.weight.dtype == torch.bfloat16
    assert torch.equal(model.state_dict()[bias], made.model.state_dict()[bias])
    assert_equal(DeepseekV3ForCausalLM.from_pretrained(tmp_path, dtype="auto"), model)


def quantise(weight):
    """The released FP8: blocks of 128 x 128, each divided by its scale."""
    blocks = [-(-size // 128) for size in weight.shape]
    scales = torch.empty(blocks)
    stored = torch.empty_like(weight)
    for row in range(blocks[0]):
        for column in range(blocks[1]):
            place = slice(row * 128, row * 128 + 128), slice(column * 128, column * 128 + 128)
            scales[row, column] = weight[place].abs().max() / 448
            stored[place] = weight[place] / scales[row, column]
    return stored.to(torch.float8_e4m3fn), scales


def wide(tmp_path):
    """A checkpoint whose dense layer has more than one block each way, in FP8."""
    policy = DeepseekPolicy(DeepseekConfig(preset="tiny", hidden_size=160, intermediate_size=200), seed=3)
    policy.save(tmp_path)

    def edit(stored):
        for name in [name for name in stored if re.search(r"(mlp\.\w+_proj|o_proj)\.weight", name)]:
            stored[name], stored[f"{name}_scale_inv"] = quantise(stored[name])

    change(tmp_path, edit)
    set_config(tmp_path, quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128]})
    return policy


def test_fp8_weights_are_multiplied_by_the_scales_of_their_blocks(tmp_path):
    policy = wide(tmp_path)
    name = "model.layers.0.mlp.gate_proj.weight"
    stored = load_file(tmp_path / "model.safetensors")
    raw, scales = stored[name].float(), stored[f"{name}_scale_inv"]
    assert scales.shape == (2, 2)
    weight = load_model(tmp_path).state_dict()[name]
    assert torch.equal(weight[130:, 140:], raw[130:, 140:] * scales[1, 1])
    assert torch.equal(weight[:128, 128:], raw[:128, 128:] * scales[0, 1])
    torch.testing.assert_close(weight, policy.model.state_dict()[name], rtol=0.07, atol=1e-4)


def test_fp8_without_its_scales_or_with_wrong_ones_is_named(tmp_path):
    wide(tmp_path)
    scale = "model.layers.0.mlp.gate_proj.weight_scale_inv"
    change(tmp_path, lambda stored: stored.update({scale: torch.ones(1, 2)}))
    with pytest.raises(InputError, match=re.escape(scale)):
        load_model(tmp_path)
    change(tmp_path, lambda stored: stored.pop(scale))
    with pytest.raises(InputError, match=re.escape(scale)):
        load_model(tmp_path)


def test_modules_for_multi_token_prediction_come_back_with_the_model(tmp_path):
    policy = DeepseekPolicy(DeepseekConfig(preset="tiny", mtp_depth=1))
    policy.save(tmp_path)
    # As in the released weights, which repeat embedding and head with every module.
    copies = {f"model.layers.2.{name}": torch.rand(4, 4) for name in ("embed_tokens.weight", "shared_head.head.weight")}
    change(tmp_path, lambda stored: stored.update(copies))
    loaded = load_model(tmp_path)
    assert loaded.config.num_nextn_predict_layers == 1
    assert_equal(policy.model, loaded)


def test_a_checkpoint_without_the_modules_that_it_promises_loads_without_them(made, tmp_path):
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_nextn_predict_layers": 1}))
    loaded = load_model(tmp_path)
    assert loaded.config.num_nextn_predict_layers == 0
    assert_equal(made.model, loaded)


def fail(directory):
    with pytest.raises(InputError) as caught:
        load_model(directory)
    return str(caught.value)


def test_a_missing_tensor_is_named(made, tmp_path):
    change(tmp_path, lambda stored: stored.pop(EXPERT))
    assert EXPERT in fail(tmp_path)


def test_an_extra_tensor_is_named(made, tmp_path):
    change(tmp_path, lambda stored: stored.update({"model.layers.1.adapter.weight": torch.zeros(1)}))
    message = fail(tmp_path)
    assert "model.layers.1.adapter.weight" in message
    assert "model.safetensors" in message


def test_a_tensor_of_another_shape_is_named_with_both(made, tmp_path):
    change(tmp_path, lambda stored: stored.update({EXPERT: torch.zeros(16, 31)}))
    message = fail(tmp_path)
    assert EXPERT in message
    assert "[16, 31]" in message
    assert "[16, 32]" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_tensor_that_is_not_finite_is_named(made, tmp_path, value):
    change(tmp_path, lambda stored: stored[EXPERT].fill_(value))
    message = fail(tmp_path)
    assert EXPERT in message
    assert str(tmp_path / "model.safetensors") in message


@pytest.mark.parametrize("left", [0, 7, 500, -1])
def test_a_truncated_file_is_named(made, tmp_path, left):
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:left])
    assert str(path) in fail(tmp_path)


def test_a_missing_shard_is_named(made, tmp_path):
    made.model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    shard = sorted((tmp_path / "shards").glob("*.safetensors"))[1]
    shard.unlink()
    assert str(shard) in fail(tmp_path / "shards")


@pytest.mark.parametrize("file", ["../model.safetensors", "/etc/passwd", "model.bin", 3])
def test_an_index_that_points_elsewhere_is_refused(made, tmp_path, file):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {EXPERT: file}}))
    assert EXPERT in fail(tmp_path)


def test_a_directory_without_weights_says_so(made, tmp_path):
    (tmp_path / "model.safetensors").unlink()
    assert "model.safetensors" in fail(tmp_path)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"model_type": "llama"}, "llama"),
        ({"architectures": ["Evil"]}, "Evil"),
        ({"n_group": 3}, "n_routed_experts"),
        ({"num_experts_per_tok": 5}, "num_experts_per_tok"),
        ({"qk_rope_head_dim": 7}, "qk_rope_head_dim"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"hidden_size": -32}, "hidden_size"),
        ({"n_group": None}, "n_group"),
        ({"scoring_func": "softmax"}, "scoring_func"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"attention_bias": True}, "attention_bias"),
        ({"quantization_config": {"weight_block_size": "big"}}, "weight_block_size"),
        ({"quantization_config": 3}, "quantization_config"),
    ],
    ids=str,
)
def test_a_configuration_that_cannot_be_is_named(made, tmp_path, values, word):
    set_config(tmp_path, **values)
    message = fail(tmp_path)
    assert word in message
    assert "config.json" in message


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "\x00"])
def test_a_broken_configuration_is_named(made, tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    assert "config.json" in fail(tmp_path)


def test_a_repositorys_own_code_is_neither_run_nor_kept(made, tmp_path):
    code = "from pathlib import Path\nPath(__file__).with_name('canary').touch()\n"
    (tmp_path / "modeling_evil.py").write_text(code)
    evil = {"AutoModelForCausalLM": "modeling_evil.Evil", "AutoConfig": "modeling_evil.Evil"}
    set_config(tmp_path, auto_map=evil, trust_remote_code=True, _attn_implementation_internal="evil/kernel")
    policy = DeepseekPolicy(DeepseekConfig(path=tmp_path))
    policy.save(tmp_path / "again")
    kept = json.loads((tmp_path / "again/config.json").read_text())
    assert not {"auto_map", "trust_remote_code", "_attn_implementation_internal"} & set(kept)
    assert not list(tmp_path.rglob("canary"))


def test_a_checkpoint_without_a_tokenizer_says_so(made, tmp_path):
    for path in tmp_path.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(InputError, match="tokenizer"):
        DeepseekPolicy(DeepseekConfig(path=tmp_path))
