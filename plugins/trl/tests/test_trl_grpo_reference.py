"""The reference of the KL term: of a policy with adapters alone it is the same model without them, and computes what a copy does."""

import json
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from trl.trainer import grpo_trainer

from ponder.plugins import load_registry
from ponder.progress import Display
from ponder.recipe import load_recipe
from ponder.run import run_recipe
from ponder_trl.reference import WithoutAdapters
from ponder_trl.trl_grpo import TrlGrpo

pytestmark = pytest.mark.parametrize("tiny_policy", ["qwen2"], indirect=True)

PLUGIN = """
from ponder import Component, RewardConfig, hookimpl


def early(example, completion):
    return sum(token % 4 == 0 for token in completion.token_ids) / max(1, len(completion.token_ids))


@hookimpl
def ponder_rewards():
    yield Component("early", RewardConfig, lambda config: early)
"""

RECIPE = """
policies:
  base: {type: causal_lm, path: WHOLE, lora: {r: 4, lora_dropout: 0.2, modules_to_save: [lm_head]}}
tasks:
  sums: {type: jsonl, path: rows.jsonl}
samplers:
  short: {type: fast, temperature: 1.0, max_new_tokens: 6}
rewards:
  early: {type: early}
stages:
  zero: {type: trl_grpo, policy: base, task: sums, rewards: [early], sampler: short, steps: 3, prompts_per_step: 2, group_size: 4,
    minibatches: 2, micro_batch_size: 2, learning_rate: 1.0e-2, beta: 0.05}
"""


@pytest.fixture
def run(tmp_path, write_rows, tiny_policy):
    """Runs the recipe and returns the metrics of its updates."""
    tiny_policy.save(tmp_path / "whole")
    write_rows([{"prompt": f"{n} + 1 = ?", "answer": str(n + 1)} for n in range(8)])
    (tmp_path / "plugin.py").write_text(PLUGIN)
    (tmp_path / "small.yaml").write_text(RECIPE.replace("WHOLE", str(tmp_path / "whole")))

    def run(runs):
        registry = load_registry([tmp_path / "plugin.py"])
        with torch.random.fork_rng():
            outcome = run_recipe(
                load_recipe(tmp_path / "small.yaml", [], registry), registry, tmp_path / runs, Display()
            )
        return [json.loads(line) for line in (outcome.stages[-1].directory / "metrics.jsonl").read_text().splitlines()]

    return run


def test_a_policy_with_adapters_is_its_own_reference(run, monkeypatch):
    loaded, references = [], []
    monkeypatch.setattr(grpo_trainer, "create_model_from_path", lambda *given, **_: loaded.append(given))
    make = TrlGrpo._make_trainer

    def observed(*given):
        trainer = make(*given)
        references.append(trainer.ref_model)
        return trainer

    monkeypatch.setattr(TrlGrpo, "_make_trainer", observed)
    run("own")
    assert not loaded
    assert [type(reference) for reference in references] == [WithoutAdapters]


def test_leaving_adapters_out_gives_the_losses_that_a_copy_gives(run, monkeypatch):
    own = run("own")
    monkeypatch.setattr("ponder_trl.trl_grpo.has_adapters", lambda policy: False)
    copied = run("copied")
    assert own[0]["kl"] == pytest.approx(0.0, abs=1e-6)
    assert own[-1]["kl"] > 1e-4
    for name in ("kl", "loss", "grad_norm"):
        assert [line[name] for line in own] == pytest.approx([line[name] for line in copied], abs=1e-5)


def test_after_the_reference_has_computed_the_model_trains_with_its_adapters_again(tiny_policy):
    states = []

    @contextmanager
    def without_adapters():
        states.append("left out")
        yield
        states.append("back")

    model = tiny_policy.model.train()
    policy = SimpleNamespace(model=model, without_adapters=without_adapters)
    model.register_forward_pre_hook(lambda module, _: states.append(f"training: {module.training}"))
    WithoutAdapters(policy)(input_ids=torch.tensor([[5, 6]]))
    assert states == ["left out", "training: False", "back"]
    assert model.training
