"""`ponder chat` with real models: every policy of a run, both samplers, streamed as sampled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ponder.cli import main

RECIPE = """
name: chatty
policies:
  deepseek: {type: deepseek, preset: tiny}
  qwen: {type: causal_lm, preset: qwen2_tiny, chat_template: r1}
  llama: {type: causal_lm, preset: llama_tiny, corpus: web}
tasks:
  web: {type: mini_web, documents: 40}
stages:
  base: {type: pretrain, policy: deepseek, task: web, tokens: 2000, batch_tokens: 1024}
  student: {type: pretrain, policy: qwen, task: web, tokens: 2000, batch_tokens: 1024}
  other: {type: pretrain, policy: llama, task: web, tokens: 2000, batch_tokens: 1024}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the recipe and its run."""
    directory = tmp_path_factory.mktemp("chatty")
    (directory / "chatty.yaml").write_text(RECIPE)
    assert main(["run", str(directory / "chatty.yaml"), "--runs", str(directory / "runs")]) == 0
    return directory


def answer(capfd: pytest.CaptureFixture[str], policy: Path | str, *options: str) -> str:
    capfd.readouterr()
    assert main(["chat", str(policy), "--once", "What is 2 + 3?", "max_new_tokens=24", *options]) == 0
    return capfd.readouterr().out


@pytest.mark.parametrize("policy", ["runs/chatty/base", "runs/chatty/student", "runs/chatty/other", "chatty.yaml:qwen"])
def test_every_policy_answers_and_both_samplers_stream_the_same(run: Path, capfd: Any, policy: str) -> None:
    said = answer(capfd, run / policy)

    assert said.strip()
    assert said == answer(capfd, run / policy, "--sampler", "generate")


def test_what_is_streamed_is_what_a_sampler_without_streaming_would_show(
    run: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    streamed = answer(capfd, run / "runs/chatty/base")
    monkeypatch.delattr("ponder_sampling.chunks.ChunkedSampler.stream")

    assert answer(capfd, run / "runs/chatty/base") == streamed
