"""The stage in real runs, through recipes: data that later stages read, interruptions, and recipes that cannot work."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from ponder.errors import InputError, StageError
from ponder.plugins import load_registry
from ponder.progress import Display
from ponder.recipe import load_recipe
from ponder.run import run_recipe
from ponder_rejection_sampling import RejectionSamplingConfig
from ponder_sampling.fast import FastSampler

# An untrained model says nothing that is correct or readable: zero points are enough here, and no format is asked for.
RECIPE = """
name: small
policies:
  base: {type: deepseek, preset: tiny}
tasks:
  sums: {type: reasoning_gym, dataset: chain_sum, size: 12, options: {min_terms: 2, max_terms: 2, min_digits: 1, max_digits: 1}}
  talk: {type: mini_instructions, size: 4}
rewards:
  shape: {type: format}
samplers:
  short: {type: fast, max_new_tokens: 60}
stages:
  curated:
    type: rejection_sampling
    policy: base
    task: sums
    rewards: [shape]
    correct_at: 0.0
    filters: [repetition, duplicates]
    sampler: short
    per_prompt: 8
    prompts_per_chunk: 4
    also: [talk]
"""
AGAIN = """
tasks:
  both: {type: mixture, parts: [curated, talk], ratio: [3, 1], size: 8}
stages:
  again: {type: rejection_sampling, policy: base, task: both, rewards: [shape], correct_at: 0.0, filters: [], sampler: short}
"""


def write(folder, *texts):
    paths = [folder / f"part{number}.yaml" for number in range(len(texts))]
    for number, (path, text) in enumerate(zip(paths, texts, strict=True)):
        path.write_text(text if number == 0 else f"extends: part{number - 1}.yaml\n{text}")
    return paths[-1]


def run(folder, name="runs", *overrides, texts=(RECIPE,)):
    registry = load_registry()
    with torch.random.fork_rng():
        outcome = run_recipe(
            load_recipe(write(folder, *texts), overrides, registry), registry, folder / name, Display()
        )
    return {stage.name: stage for stage in outcome.stages}


def rows(stage):
    return [json.loads(line) for line in (stage.directory / "data.jsonl").read_text().split("\n")[:-1]]


def test_a_run_writes_rows_a_funnel_and_what_it_cost(tmp_path):
    stage = run(tmp_path)["curated"]
    metrics = stage.result.metrics
    assert stage.result.task == stage.directory / "data.jsonl"
    assert len(rows(stage)) == metrics["rows"] == metrics["kept"] + 4
    assert metrics["sampled"] == 96
    assert metrics["flops"] > 0
    funnel = json.loads((stage.directory / "funnel.json").read_text())
    assert funnel[-1] == {"step": "rows", "kept": metrics["rows"], "removed": 0, "unit": "rows"}


def test_later_stages_read_the_data_and_know_where_it_is_from(tmp_path):
    stages = run(tmp_path, texts=(RECIPE, AGAIN))
    prompts = rows(stages["again"])
    assert {row["task"] for row in prompts} <= {"curated", "talk"}
    assert stages["again"].parents == {"curated": stages["curated"].fingerprint}


def test_a_dead_sampler_loses_nothing_and_changes_nothing(tmp_path, monkeypatch):
    straight = run(tmp_path, "straight")["curated"].directory
    real, calls = FastSampler.sample, []

    def dies_in_chunk_2(*arguments):
        calls.append(None)
        if len(calls) == 3:
            raise RuntimeError("CUDA error")
        return real(*arguments)

    monkeypatch.setattr(FastSampler, "sample", dies_in_chunk_2)
    with pytest.raises(
        StageError, match=r"prompts 8 to 11 .*RuntimeError: CUDA error.* The 64 completions .* are kept"
    ):
        run(tmp_path, "broken")
    resumed = run(tmp_path, "broken")["curated"].directory
    assert len(calls) == 4
    for name in ("data.jsonl", "funnel.json", "metrics.jsonl", "result.json"):
        assert (resumed / name).read_bytes() == (straight / name).read_bytes()


@pytest.mark.slow
def test_a_killed_process_is_continued_to_the_same_bytes(tmp_path):
    straight = run(tmp_path, "straight")["curated"].directory
    command = [sys.executable, "-m", "ponder", "run", str(tmp_path / "part0.yaml"), "--runs", str(tmp_path / "killed")]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    journals = tmp_path / "killed"
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if any(path.stat().st_size > 100 for path in journals.rglob("*.journal")):
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    resumed = run(tmp_path, "killed")["curated"].directory
    for name in ("data.jsonl", "funnel.json", "metrics.jsonl"):
        assert (resumed / name).read_bytes() == (straight / name).read_bytes()


def test_keeping_nothing_ends_the_run_with_the_funnel_and_keeps_what_was_drawn(tmp_path, monkeypatch):
    with pytest.raises(StageError, match=r"(?s)keeps none of 96 completions.*correct +0 completions"):
        run(tmp_path, "runs", "stages.curated.correct_at=2.0")
    monkeypatch.setattr(FastSampler, "sample", None)
    with pytest.raises(StageError, match="keeps none of 96 completions"):
        run(tmp_path, "runs", "stages.curated.correct_at=2.0")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"per_prompt": 0}, "per_prompt must be at least 1"),
        ({"prompts_per_chunk": 0}, "prompts_per_chunk must be at least 1"),
        ({"keep_per_prompt": 0}, "keep_per_prompt must be at least 1, or null for all"),
        ({"max_prompts": 0}, "max_prompts must be at least 1"),
        ({"language_tolerance": 1.5}, "language_tolerance is a share"),
        ({"repetition_share": -0.1}, "repetition_share is a share"),
        ({"filters": ["format", "format"]}, "filters names format twice"),
        ({"summaries": {"en": "It is {answer}."}}, "summaries needs a text for 'zh'"),
        ({"summaries": {"en": "It is."}, "language": "en"}, "for 'en' with {answer} in it"),
    ],
)
def test_impossible_options_are_named(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        RejectionSamplingConfig(policy="base", task="sums", **options)


def test_one_language_needs_only_its_own_summary():
    assert RejectionSamplingConfig(policy="p", task="t", language="en", summaries={"en": "It is {answer}."})


def test_a_filter_that_is_none_is_said_before_the_run(tmp_path):
    with pytest.raises(InputError, match="repetitions"):
        run(tmp_path, "runs", "stages.curated.filters=[repetitions]")


def test_the_plan_says_what_is_going_to_be_kept():
    config = RejectionSamplingConfig(
        policy="zero", task="sums", rewards=["accuracy"], keep_per_prompt=1, max_prompts=1000, filters=["repetition"]
    )
    assert config.plan() == (
        "up to 1,000 prompts of sums x 4 completions, 32 prompts at a time; keeps what ended, has 1 or more in accuracy and "
        "passes repetition, at most 1 of each prompt"
    )
