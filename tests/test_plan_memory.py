"""The memory that a plan expects of each small policy's training step, against what the step takes."""

import pytest
import torch

from ponder.hf_pretraining import TokenBatch, objective_of
from ponder.testing.hf_memory import most_allocated
from ponder_causal_lm import CausalLMConfig
from ponder_causal_lm.policy import CausalLMPolicy
from ponder_deepseek import DeepseekConfig
from ponder_deepseek.policy import DeepseekPolicy

ROWS, LENGTH = 8, 128
POLICIES = {
    "tiny": (DeepseekPolicy, DeepseekConfig(preset="tiny")),
    "mini": (DeepseekPolicy, DeepseekConfig(preset="mini", vocab_size=1536)),
    "qwen": (CausalLMPolicy, CausalLMConfig(preset="qwen2_mini")),
    "llama": (CausalLMPolicy, CausalLMConfig(preset="llama_mini")),
    "with adapters": (DeepseekPolicy, DeepseekConfig(preset="mini", lora={"r": 4})),
}


@pytest.mark.parametrize("name", POLICIES)
def test_the_peak_is_within_a_tenth_of_what_the_allocator_hands_out(name, tmp_path):
    make, config = POLICIES[name]
    # Weights of no stage are trained whole, adapters or not.
    make(config, seed=0).save(tmp_path)
    policy = make(config, tmp_path)
    objective = objective_of(policy)
    policy.model.train()
    generator = torch.Generator().manual_seed(0)
    documents = torch.randint(5, len(policy.tokenizer), (ROWS, 1, LENGTH), generator=generator).tolist()
    batch = TokenBatch.pack(documents, LENGTH, pad=0)

    def step():
        objective.loss(batch, 0.0)[0].backward()
        policy.model.zero_grad(set_to_none=True)

    step()
    planned = config.footprint().step(ROWS, LENGTH, value_bytes=4, kernels="cpu")
    assert planned.peak == pytest.approx(most_allocated(step), rel=0.1)
