"""A recipe with everything that changes within a stage, through core's own loop, rubric and samplers."""

import json

import pytest
import torch

from ponder.cli import main
from ponder.plugins import load_registry
from ponder.progress import Display
from ponder.recipe import load_recipe
from ponder.run import run_recipe
from ponder_grpo.engine import Engine

RECIPE = """
policies:
  base: {type: deepseek, preset: tiny}
tasks:
  problems: {type: jsonl, path: problems.jsonl}
rewards:
  right: {type: accuracy, tasks: [sums]}
  english: {type: language_consistency, language: question, tasks: [sums]}
  polite: {type: language_consistency, language: zh, tasks: [chat]}
samplers:
  short: {type: fast, max_new_tokens: 12}
stages:
  first:
    type: grpo
    preset: r1
    policy: base
    task: problems
    rewards: [right, english, polite]
    reward_from: {polite: 2}
    task_from: {chat: 2}
    length_limits: [{step: 3, max_new_tokens: 16}]
    dynamic_sampling: 1
    truncated: penalise
    overlong_buffer: 4
    language: question
    loss: {kl_coef: 0.01}
    sampler: short
    group_size: 4
    prompts_per_step: 2
    minibatches: 1
    steps: 5
    learning_rate: 1.0e-3
    probes: 1
    checkpoint_every: 2
  second:
    type: grpo
    policy: base
    task: problems
    rewards: [english]
    sampler: short
    loss: {kl_coef: 0}
    group_size: 4
    prompts_per_step: 2
    steps: 40
    probes: 0
    checkpoint_every: 1
    compute_of: [first]
    compute_factor: 0.5
"""


@pytest.fixture
def folder(tmp_path):
    rows = [{"prompt": f"What is {n} plus one?", "answer": str(n + 1), "task": "sums"} for n in range(6)]
    rows += [{"prompt": f"说 {n} 个词", "task": "chat"} for n in range(4)]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "all.yaml").write_text(RECIPE)
    return tmp_path


def run(folder, runs, *overrides):
    registry = load_registry()
    with torch.random.fork_rng():
        recipe = load_recipe(folder / "all.yaml", overrides, registry)
        return run_recipe(recipe, registry, folder / runs, Display())


def metrics(folder, runs, stage):
    lines = (folder / runs / "all" / stage / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def outputs(folder, runs):
    root = folder / runs / "all"
    return {
        str(path.relative_to(root)): path.read_bytes()
        for stage in ("first", "second")
        for path in sorted((root / stage).rglob("*"))
        if path.is_file() and path.name != "timings.jsonl"
    }


def test_everything_that_changes_within_a_stage_does_so_at_its_step(folder):
    assert main(["run", str(folder / "all.yaml"), "--runs", str(folder / "runs")]) == 0
    first = metrics(folder, "runs", "first")
    assert ["rewards/polite" in line for line in first[:2]] == [False, False]
    assert any("reward/chat" in line for line in first[2:])
    assert [line["length_limit"] for line in first] == [12, 12, 12, 16, 16]
    assert {"pass@1", "cons@4", "reward/sums", "resampled_prompts", "overlong_penalty"} <= first[0].keys()
    result = json.loads((folder / "runs" / "all" / "second" / "result.json").read_text())["metrics"]
    assert result["flops"] >= 0.5 * first[-1]["flops"] > result["flops"] * (1 - 1 / result["steps"])
    assert result["steps"] < 40
    told = json.loads((folder / "runs" / "all" / "first" / "deviations.json").read_text())
    assert {"option": "loss.kl_coef", "preset": 0.001, "run": 0.01} in told["deviations"]


@pytest.mark.slow
def test_a_run_that_dies_again_and_again_goes_on_to_the_same_files(folder, monkeypatch):
    run(folder, "straight")
    real, calls = Engine.learn, []

    def dies(*arguments):
        calls.append(None)
        if len(calls) in (2, 5, 9):
            raise RuntimeError("power cut")
        return real(*arguments)

    monkeypatch.setattr(Engine, "learn", dies)
    for _ in range(3):
        with pytest.raises(Exception, match="power cut"):
            run(folder, "broken")
    run(folder, "broken")
    straight, broken = outputs(folder, "straight"), outputs(folder, "broken")
    assert straight.keys() == broken.keys()
    assert [name for name in straight if straight[name] != broken[name]] == []


def test_a_reward_that_is_not_of_the_stage_is_a_fault_at_its_line(folder, capsys):
    assert main(["validate", str(folder / "all.yaml"), "stages.first.reward_from={kind: 1}"]) != 0
    assert "reward_from names 'kind'" in capsys.readouterr().err
