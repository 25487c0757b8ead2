"""Training in BF16 and FP8 on parameters in FP32."""

import pytest
import torch
from torch.nn import functional as F
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM, LlamaConfig, LlamaForCausalLM

from ponder.hf_fp8 import GRADIENT_FLOOR, e5m6_tiles, quantize_blocks, quantize_tiles
from ponder.hf_precision import AttentionOutputWeight, Bf16Weight, Fp8Weight, working_precision

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
LATENT = {
    "kv_lora_rank": 16,
    "q_lora_rank": 12,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}


def deepseek():
    torch.manual_seed(0)
    return DeepseekV3ForCausalLM(DeepseekV3Config(**SIZES, **LATENT))


def llama():
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=True))


TOKENS = torch.arange(40).view(2, 20)


def loss_and_gradients(model, precision):
    with working_precision(model, precision):
        logits = model(TOKENS).logits
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), TOKENS[:, 1:].flatten())
        loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    return loss.item(), gradients


@pytest.mark.parametrize("make", [deepseek, llama])
@pytest.mark.parametrize(("precision", "within"), [("bf16", 0.02), ("fp8", 0.15)])
def test_loss_and_gradients_are_near_those_in_fp32_and_in_fp32(make, precision, within):
    model = make()
    expected_loss, expected = loss_and_gradients(model, "fp32")
    loss, gradients = loss_and_gradients(model, precision)
    assert loss == pytest.approx(expected_loss, rel=within / 10)
    assert loss != expected_loss
    assert all(type(gradient) is torch.Tensor and gradient.dtype == torch.float32 for gradient in gradients.values())
    for name in ("model.layers.0.mlp.down_proj.weight", "model.embed_tokens.weight", "model.norm.weight"):
        assert (gradients[name] - expected[name]).norm() < within * expected[name].norm(), name


@pytest.mark.parametrize("precision", ["bf16", "fp8"])
def test_parameters_and_their_names_are_the_same_again_afterwards_even_after_an_error(precision):
    model = llama()
    before = dict(model.named_parameters())
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(RuntimeError, match="stop"), working_precision(model, precision):
        raise RuntimeError("stop")
    assert all(parameter is before[name] for name, parameter in model.named_parameters())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def test_what_is_multiplied_in_fp8_and_what_stays_in_bf16():
    model = deepseek()
    with working_precision(model, "fp8"):
        layer = model.model.layers[1]
        assert type(layer.self_attn.kv_b_proj.weight) is Fp8Weight
        assert type(layer.self_attn.o_proj.weight) is AttentionOutputWeight
        assert type(layer.mlp.experts.gate_up_proj) is Fp8Weight
        assert type(layer.mlp.shared_experts.up_proj.weight) is Fp8Weight
        assert type(model.lm_head.weight) is Bf16Weight
        for kept in (model.model.embed_tokens, layer.mlp.gate, layer.input_layernorm, layer.self_attn.kv_a_layernorm):
            assert type(kept.weight) is torch.Tensor
            assert kept.weight.dtype == torch.bfloat16
        assert layer.mlp.gate.e_score_correction_bias.dtype == torch.float32


@pytest.mark.parametrize("precision", ["bf16", "fp8"])
def test_every_way_to_run_the_experts_rounds_the_same(precision):
    losses = []
    for way in ("eager", "grouped_mm", "batched_mm"):
        model = deepseek()
        model.set_experts_implementation(way)
        losses.append(loss_and_gradients(model, precision)[0])
    assert losses[1] == pytest.approx(losses[0], rel=2e-3)
    assert losses[2] == pytest.approx(losses[0], rel=2e-3)


@pytest.mark.parametrize("kind", [Fp8Weight, AttentionOutputWeight])
def test_the_three_products_take_tiles_blocks_and_what_was_kept(kind):
    torch.manual_seed(0)
    inputs = torch.randn(150, 200).bfloat16().requires_grad_()
    weight = torch.randn(130, 200, requires_grad=True)
    gradient = torch.randn(150, 130).bfloat16() * 1e-7
    outputs = F.linear(inputs, weight.view_as(weight).as_subclass(kind))
    outputs.backward(gradient)
    activations, blocks = quantize_tiles(inputs.detach()), quantize_blocks(weight.detach())
    assert torch.equal(outputs, (activations.dequantize() @ blocks.dequantize().mT).bfloat16())
    rows = quantize_tiles(gradient, GRADIENT_FLOOR).dequantize()
    assert torch.equal(inputs.grad, (rows @ blocks.dequantize()).bfloat16())
    is_attention = kind is AttentionOutputWeight
    kept = (e5m6_tiles(inputs.detach()) if is_attention else activations).dequantize()
    along = quantize_tiles(kept.mT, power_of_two=is_attention).dequantize()
    columns = quantize_tiles(gradient.mT, GRADIENT_FLOOR).dequantize()
    assert torch.equal(weight.grad, columns @ along.mT)


def test_a_product_in_bf16_is_that_of_rounded_operands():
    torch.manual_seed(0)
    inputs, weight = torch.randn(4, 9, 64).bfloat16(), torch.randn(32, 64)
    outputs = F.linear(inputs, weight.as_subclass(Bf16Weight), torch.ones(32).bfloat16())
    expected = (inputs.double() @ weight.bfloat16().double().mT).bfloat16() + 1
    torch.testing.assert_close(outputs, expected)


def test_other_functions_see_a_plain_tensor_in_bf16():
    weight = torch.randn(32, 64).as_subclass(Fp8Weight)
    assert weight.dtype == torch.bfloat16
    assert type(weight[3:9]) is Fp8Weight
    mixed = torch.einsum("rk,ok->ro", torch.randn(3, 64).bfloat16(), weight)
    assert type(mixed) is torch.Tensor
    assert mixed.dtype == torch.bfloat16
