"""A real run of a small recipe, tracked: its lineage asked of the database, and what a second run adds."""

from __future__ import annotations

import json

import pytest

from ponder.cli import main

pytestmark = pytest.mark.slow

RECIPE = """
name: chain
tracker: {type: mlflow}
policies:
  student: {type: deepseek, preset: tiny}
tasks:
  web: {type: mini_web, documents: 40}
  sums: {type: reasoning_gym, dataset: chain_sum, size: 2}
rewards:
  accuracy: {type: reasoning_gym}
samplers:
  short: {type: fast, max_new_tokens: 4}
stages:
  base: {type: pretrain, policy: student, task: web, tokens: 2000, batch_tokens: 1024}
  exam: {type: evaluate, policy: base, task: sums, sampler: short, samples: 2}
"""


def run(directory, *options):
    (directory / "chain.yaml").write_text(RECIPE)
    return main(["run", str(directory / "chain.yaml"), "--runs", str(directory / "runs"), *options])


def test_a_run_in_two_invocations_is_one_tree_with_its_lineage(tmp_path, runs, reader):
    assert run(tmp_path, "--until", "base") == 0
    assert run(tmp_path) == 0
    assert run(tmp_path) == 0
    seen = reader()
    assert len(seen.found) == 3
    assert {seen.tag(name, "mlflow.parentRunId") for name in ("base", "exam")} == {seen.id("chain")}
    assert {found.info.status for found in seen.found} == {"FINISHED"}
    assert json.loads(seen.tag("exam", "ponder.parent_runs")) == {"base": seen.id("base")}
    assert [data.dataset.name for data in seen.runs["base"].inputs.dataset_inputs] == ["web"]
    assert [data.dataset.name for data in seen.runs["exam"].inputs.dataset_inputs] == ["sums"]
    [version] = seen.client.search_model_versions("name = 'chain.base'")
    assert version.source == (runs / "chain" / "base").resolve().joinpath("policy").as_uri()
    assert len(seen.traces("exam")) == 4
    assert not (runs / "chain" / "tracking.jsonl").exists(), "all was sent"


def test_a_run_that_was_first_not_tracked_has_its_whole_lineage(tmp_path, runs, reader):
    assert run(tmp_path, "--until", "base", "tracker=null") == 0
    assert run(tmp_path) == 0
    seen = reader()
    assert json.loads(seen.tag("exam", "ponder.parent_runs")) == {"base": seen.id("base")}
    assert "loss" in seen.runs["base"].data.metrics
