"""Adapters on the experts of a DeepSeek-V3 through the stages that train: pre-training whole, then SFT and GRPO with adapters."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

from ponder.cli import main

RECIPE = """
name: lora
policies:
  base: {type: deepseek, preset: tiny, lora: {r: 2}}
tasks:
  web: {type: mini_web, documents: 200, max_terms: 3}
  sums: {type: reasoning_gym, dataset: chain_sum, split: train, size: 8}
rewards:
  brief: {type: format}
samplers:
  short: {type: fast, max_new_tokens: 6}
losses:
  held: {type: grpo, kl_coef: 0.1}
stages:
  pretrain: {type: pretrain, policy: base, task: web, tokens: 2048, batch_tokens: 1024}
  taught: {type: sft, policy: pretrain, task: sums, epochs: 1, batch_size: 4, learning_rate: 1.0e-2}
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
"""


def test_adapters_are_trained_by_sft_and_grpo_and_only_what_they_are_in_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lora.yaml").write_text(RECIPE)

    assert main(["run", "lora.yaml"]) == 0
    before, after, last = (
        load_file(tmp_path / "runs/lora" / stage / "policy/model.safetensors") for stage in ("pretrain", "taught", "rl")
    )

    assert before.keys() == after.keys() == last.keys()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed and all(".experts." in name for name in changed)


def test_a_target_that_is_nowhere_ends_the_stage_with_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lora.yaml").write_text(RECIPE)

    assert main(["run", "lora.yaml", "policies.base.lora.target_modules=[w1]"]) == 2
    assert "nothing in the model is called 'w1'" in capsys.readouterr().err


def test_options_that_peft_has_not_are_found_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lora.yaml").write_text(RECIPE)

    assert main(["validate", "lora.yaml", "policies.base.lora.rank=4"]) == 2
    assert "policies.base.lora.rank" in capsys.readouterr().err
