"""A chain of stages on one set of adapters: SFT, GRPO and evaluation over a pretrained model, whole, in 4 bits, merged or alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from ponder.cli import main
from ponder_causal_lm import CausalLMConfig
from ponder_causal_lm.policy import CausalLMPolicy

RECIPE = """
name: chain
policies:
  base: {type: causal_lm, path: PATH, lora: {r: 2}, OPTIONS}
tasks:
  sums: {type: reasoning_gym, dataset: chain_sum, split: train, size: 8}
  held_out: {type: reasoning_gym, dataset: chain_sum, split: held_out, size: 4}
rewards:
  brief: {type: format}
samplers:
  short: {type: fast, max_new_tokens: 6}
losses:
  held: {type: grpo, kl_coef: 0.1}
stages:
  taught: {type: sft, policy: base, task: sums, epochs: 1, batch_size: 4, learning_rate: 1.0e-2}
  rl:
    type: grpo
    policy: taught
    task: sums
    rewards: [brief]
    sampler: short
    loss: held
    reference_refresh: 0
    prompts_per_step: 2
    group_size: 2
    steps: 2
    probes: 0
  exam: {type: evaluate, policy: rl, task: held_out, sampler: short, rewards: [brief]}
"""


@pytest.fixture
def base(tmp_path: Path) -> str:
    CausalLMPolicy(CausalLMConfig(preset="qwen2_tiny", chat_template="r1_zero")).save(tmp_path / "base")
    return str(tmp_path / "base")


@pytest.mark.parametrize("options", ["save_adapters: alone", "load_in_4bit: true", "save_adapters: merged"])
def test_a_chain_of_stages_goes_on_with_its_adapters(
    base: str, options: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chain.yaml").write_text(RECIPE.replace("PATH", base).replace("OPTIONS", options))

    assert main(["run", "chain.yaml"]) == 0
    policies = [tmp_path / "runs/chain" / stage / "policy" for stage in ("taught", "rl")]
    is_alone = "merged" not in options
    for directory in policies:
        assert (directory / "adapter_model.safetensors").exists() == is_alone
        assert (directory / "model.safetensors").exists() != is_alone
        AutoModelForCausalLM.from_pretrained(directory)
    if is_alone:
        card = json.loads((policies[1] / "adapter_config.json").read_text())
        assert card["base_model_name_or_path"] == base
        first, second = (load_file(directory / "adapter_model.safetensors") for directory in policies)
        assert first.keys() == second.keys()
    assert main(["chat", "runs/chain/rl", "max_new_tokens=3", "--once", "1 + 1?"]) == 0
