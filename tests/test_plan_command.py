from __future__ import annotations

import json
from pathlib import Path

import pytest

from ponder.cli import main

RECIPE = """
name: plan
policies:
  v3: {type: deepseek, preset: v3_671b}
  qwen: {type: causal_lm, preset: qwen2_tiny, corpus: web, vocab_size: 512}
tasks:
  web: {type: mini_web, documents: 200, max_terms: 3}
  sums: {type: reasoning_gym, dataset: chain_sum, split: train, size: 8}
  held_out: {type: reasoning_gym, dataset: chain_sum, split: held_out, size: 8}
rewards:
  accuracy: {type: reasoning_gym}
samplers:
  short: {type: fast, max_new_tokens: 16}
stages:
  base: {type: pretrain, policy: v3, task: web, tokens: 8192000, batch_tokens: 8192, sequence_length: 4096}
  student: {type: pretrain, policy: qwen, task: web, tokens: 20480, batch_tokens: 1024}
  taught: {type: sft, policy: student, task: web}
  rl: {type: grpo, policy: taught, task: sums, rewards: [accuracy], sampler: short, group_size: 4, prompts_per_step: 2, steps: 3}
  exam: {type: evaluate, policy: rl, task: held_out, sampler: short, samples: 2}
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "plan.yaml"
    path.write_text(RECIPE)
    return path


def test_plan_prints_deepseek_v3_beside_what_is_published(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(recipe)]) == 0
    words = " ".join(capsys.readouterr().out.split())

    for figure in ("671,026,404,352", "36,625,603,584", "70,272 bytes", "250.45 GFLOP", "2,664K (published 2,664K)"):
        assert figure in words
    for figure in (
        "119K (published 119K)",
        "5K (published 5K)",
        "$5.576M (published $5.576M)",
        "147K (published 147K)",
    ):
        assert figure in words


def test_plan_as_json_has_every_stage_on_the_named_gpus(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--gpu", "h100-80gb", "--gpus", "2", "--price", "3", "--tokens", "taught=5e4", "--json"]
    assert main(["plan", str(recipe), *words]) == 0
    plan = json.loads(capsys.readouterr().out)
    stages = {stage["stage"]: stage["figures"] for stage in plan["stages"]}

    assert stages["base"]["tokens"] == 8_192_000
    assert stages["base"]["step"]["rows"] == 2
    assert stages["taught"]["tokens"] == 50_000
    assert stages["rl"]["is_bound"] and stages["rl"]["tokens"] == 3 * 2 * 4 * 16 * 3
    assert stages["exam"]["tokens"] == 8 * 2 * 16 and stages["exam"]["step"] is None
    assert stages["base"]["dollars"] == pytest.approx(3 * stages["base"]["gpu_hours"])
    assert plan["policies"]["qwen"]["parameters"] > 10_000
    assert not (recipe.parent / "runs").exists()


def test_a_stage_that_ends_with_its_compute_is_not_planned_at_its_most(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    override = "stages.rl.compute_of=[taught]"
    assert main(["plan", str(recipe), override, "--json"]) == 0
    stages = {stage["stage"]: stage["figures"] for stage in json.loads(capsys.readouterr().out)["stages"]}
    assert stages["rl"]["tokens"] is None and stages["rl"]["step"] is not None

    assert main(["plan", str(recipe), override]) == 0
    out = capsys.readouterr().out
    assert "known when it runs" in out and "to run, where known" in out


def test_plan_without_figures_does_not_ask_for_them(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ponder_deepseek.DeepseekConfig.footprint", None)
    assert main(["plan", str(recipe), "--no-figures"]) == 0

    assert "parameters" not in capsys.readouterr().out


def test_a_policy_that_is_nowhere_has_no_figures_and_the_rest_has(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.write_text(RECIPE.replace("preset: qwen2_tiny, corpus: web, vocab_size: 512", "path: ./nowhere"))
    assert main(["plan", str(recipe)]) == 0
    out = capsys.readouterr().out

    assert "qwen: no figures" in out and "671,026,404,352" in out


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--gpu", "h9000"], "--gpu h9000: not known"),
        (["--precision", "int3"], "--precision int3: not known"),
        (["--tokens", "student=many"], "expects STAGE=N"),
        (["--tokens", "studant=5"], "did you mean 'student'"),
        (["--gpus", "0"], "invalid number above 0"),
        (["--utilisation", "1.5"], "invalid number above 0 and up to 1"),
    ],
)
def test_impossible_options_are_refused(
    recipe: Path, capsys: pytest.CaptureFixture[str], words: list[str], fault: str
) -> None:
    assert main(["plan", str(recipe), *words]) == 2
    assert fault in capsys.readouterr().err
