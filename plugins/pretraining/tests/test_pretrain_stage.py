"""The stage in a real run: it learns, and what interrupts it changes nothing."""

import json

import pytest
import torch
from safetensors.torch import load_file

from ponder.plugins import load_registry
from ponder.progress import Display
from ponder.recipe import load_recipe
from ponder.run import run_recipe
from ponder_deepseek import DeepseekConfig
from ponder_deepseek import objective as learnt
from ponder_deepseek.policy import DeepseekPolicy
from ponder_pretraining import PretrainConfig
from ponder_pretraining.training import Training

RECIPE = """
policies:
  base: {type: deepseek, preset: tiny}
tasks:
  pages: {type: mini_web, documents: 300, textbooks: 1.0}
stages:
  pretrain: {type: pretrain, policy: base, task: pages, tokens: 15360, batch_tokens: 512, checkpoint_every: 4}
"""


def run(folder, name="runs", *overrides):
    path = folder / "small.yaml"
    path.write_text(RECIPE)
    registry = load_registry()
    with torch.random.fork_rng():
        outcome = run_recipe(load_recipe(path, overrides, registry), registry, folder / name, Display())
    return outcome.stages[0].directory


def losses(directory):
    return [json.loads(line)["loss"] for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_the_loss_falls_and_the_routers_biases_move(tmp_path):
    directory = run(tmp_path)
    curve = losses(directory)
    assert len(curve) == 30
    assert curve[-1] < curve[0] - 1
    weights = load_file(directory / "policy" / "model.safetensors")
    assert weights["model.layers.1.mlp.gate.e_score_correction_bias"].any()
    # Six operations for each active parameter and token: all parameters but the embedding and half of the experts.
    experts = sum(tensor.numel() for name, tensor in weights.items() if ".experts." in name)
    biases = sum(tensor.numel() for name, tensor in weights.items() if name.endswith("e_score_correction_bias"))
    parameters = sum(tensor.numel() for tensor in weights.values()) - biases
    active = parameters - weights["model.embed_tokens.weight"].numel() - experts // 2
    result = json.loads((directory / "result.json").read_text())
    assert result["metrics"]["flops"] == 6 * active * 15360


@pytest.mark.parametrize("how", ["compile=false", "compile=true"])
def test_an_interrupted_stage_goes_on_to_the_same_weights_and_metrics(tmp_path, monkeypatch, how):
    how = f"stages.pretrain.{how}"
    straight = run(tmp_path, "straight", how)
    real = learnt.head_loss
    calls = []

    def dies_in_step_10(*arguments):
        calls.append(None)
        if len(calls) == 10:
            raise RuntimeError("power cut")
        return real(*arguments)

    monkeypatch.setattr(learnt, "head_loss", dies_in_step_10)
    with pytest.raises(Exception, match="power cut"):
        run(tmp_path, "broken", how)
    monkeypatch.setattr(learnt, "head_loss", real)
    resumed = run(tmp_path, "broken", how)
    assert (resumed / "metrics.jsonl").read_bytes() == (straight / "metrics.jsonl").read_bytes()
    weights, expected = (load_file(folder / "policy" / "model.safetensors") for folder in (resumed, straight))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_steps_that_are_not_finite_change_no_weight_and_end_the_stage_after_a_few(tmp_path, monkeypatch):
    def not_finite(head, hidden, _):
        return head(hidden).sum() * torch.nan

    monkeypatch.setattr(learnt, "head_loss", not_finite)
    with pytest.raises(Exception, match=r"not finite in 3 steps in a row.*lower learning_rate"):
        run(tmp_path, "runs", "stages.pretrain.max_skipped=3")


def test_another_seed_is_another_run(tmp_path):
    assert losses(run(tmp_path)) != losses(run(tmp_path, "runs", "seed=1"))


@pytest.mark.parametrize("precision", ["bf16", "fp8"])
def test_in_mixed_precision_the_loss_falls_and_the_policy_is_saved_in_fp32(tmp_path, precision):
    short = ("stages.pretrain.tokens=6144", f"stages.pretrain.precision={precision}")
    directory = run(tmp_path, "runs", *short)
    curve = losses(directory)
    assert curve[-1] < curve[0] - 0.4
    assert curve != losses(run(tmp_path, "plain", short[0]))
    weights = load_file(directory / "policy" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def test_a_policy_in_bf16_is_trained_on_weights_in_fp32():
    policy = DeepseekPolicy(DeepseekConfig(preset="tiny"))
    policy.model.bfloat16()
    Training(PretrainConfig(policy="base", task="pages", tokens=1000), policy, 1e-3)
    assert {parameter.dtype for parameter in policy.model.parameters()} == {torch.float32}
