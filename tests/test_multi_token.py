"""Multi-token prediction through a recipe: trained, kept by other stages, and used for guesses."""

from __future__ import annotations

import json
from itertools import chain

import pytest
import torch
from safetensors.torch import load_file

from ponder import Example
from ponder.plugins import load_registry
from ponder.progress import Display
from ponder.recipe import load_recipe
from ponder.run import run_recipe
from ponder_deepseek import DeepseekConfig
from ponder_deepseek.policy import DeepseekPolicy
from ponder_sampling import FastConfig
from ponder_sampling.fast import FastSampler

pytestmark = pytest.mark.slow

RECIPE = """
name: ahead
policies: {base: {type: deepseek, preset: tiny, mtp_depth: 2}}
tasks:
  web: {type: mini_web, documents: 200, max_terms: 2}
  problems: {type: reasoning_gym, dataset: chain_sum, options: {max_digits: 1}, size: 8, split: train}
  held_out: {type: reasoning_gym, dataset: chain_sum, options: {max_digits: 1}, size: 8, split: held_out}
  instructions: {type: mini_instructions, split: train, size: 8}
  pairs: {type: mini_preferences, kinds: [safety], split: train, size: 8}
rewards: {accuracy: {type: reasoning_gym}}
samplers: {ahead: {type: fast, max_new_tokens: 8, speculative: true}}
stages:
  trained: {type: pretrain, policy: base, task: web, tokens: 4096, batch_tokens: 1024}
  exam: {type: evaluate, policy: trained, task: held_out, sampler: ahead, samples: 2}
  tuned: {type: sft, policy: trained, task: instructions, epochs: 1, batch_size: 4}
  judge: {type: reward_model, policy: tuned, task: pairs, sees: response, batch_size: 4}
  reinforced:
    {type: grpo, policy: tuned, task: problems, rewards: [accuracy], sampler: ahead, prompts_per_step: 2, group_size: 2, steps: 1}
"""


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ahead")
    (folder / "ahead.yaml").write_text(RECIPE, encoding="utf-8")
    registry = load_registry()
    outcome = run_recipe(load_recipe(folder / "ahead.yaml", [], registry), registry, folder / "runs", Display())
    return {stage.name: stage.directory for stage in outcome.stages}


def lines(directory, name):
    return [json.loads(line) for line in (directory / name).read_text(encoding="utf-8").splitlines()]


def test_pre_training_logs_loss_and_accuracy_of_each_module(stages):
    for step in lines(stages["trained"], "metrics.jsonl"):
        assert {"loss", "mtp_loss", "mtp_accuracy", "mtp_loss_2", "mtp_accuracy_2"} <= step.keys()


def test_evaluation_logs_the_share_of_right_guesses(stages):
    shares = [line["draft_acceptance"] for line in lines(stages["exam"], "timings.jsonl") if "draft_acceptance" in line]
    assert shares
    assert all(0 <= share <= 1 for share in shares)


@pytest.mark.parametrize("stage", ["tuned", "reinforced"])
def test_fine_tuning_and_reinforcement_keep_the_modules_to_the_bit(stages, stage):
    before, after = (load_file(stages[name] / "policy" / "model.safetensors") for name in ("trained", stage))
    assert before.keys() == after.keys()
    beyond = {name for name in before if name.startswith(("model.layers.2.", "model.layers.3."))}
    assert {name for name in beyond if name.endswith("eh_proj.weight")}
    assert all(torch.equal(before[name], after[name]) for name in beyond)
    assert not torch.equal(before["lm_head.weight"], after["lm_head.weight"]) or stage == "reinforced"


@pytest.mark.parametrize("options", [{}, {"temperature": 0.0}, {"temperature": 0.6, "top_p": 0.9, "top_k": 20}])
def test_a_trained_policy_says_the_same_with_and_without_guesses(stages, options):
    policy = DeepseekPolicy(DeepseekConfig(preset="tiny"), checkpoint=stages["trained"] / "policy")
    examples = [Example("What is 3 + 4?"), Example("Q"), Example("请问 1 + 2 = ?")]
    plain, ahead = (
        FastSampler(FastConfig(max_new_tokens=24, speculative=choice, **options)).sample(policy, examples, 4, seed=5)
        for choice in (False, True)
    )
    for one, other in zip(chain.from_iterable(plain), chain.from_iterable(ahead), strict=True):
        assert one.text == other.text
        assert one.finish_reason == other.finish_reason
        assert list(one.logprobs) == pytest.approx(list(other.logprobs), abs=1e-4)
