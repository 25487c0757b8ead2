"""A teacher behind an endpoint, in whole recipes: data and evaluations without a policy, kills, and what refuses it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ponder.doctor.examination import examine
from ponder.errors import StageError
from ponder.plugins import load_registry
from ponder.problems import RecipeError
from ponder.progress import Display
from ponder.recipe import load_recipe
from ponder.run import run_recipe
from ponder.testing.endpoints import Answer, Body, StubEndpoint, completion

KEY = "sk-very-secret-0123456789"
RECIPE = """
name: taught
policies:
  student: {type: causal_lm, preset: llama_tiny, context_length: 1024}
tasks:
  sums: {type: reasoning_gym, dataset: chain_sum, size: 12, options: {min_terms: 2, max_terms: 2, min_digits: 1, max_digits: 1}}
  exam: {type: reasoning_gym, dataset: chain_sum, size: 4, seed: 9, options: {min_terms: 2, max_terms: 2, min_digits: 2, max_digits: 2}}
samplers:
  teacher: {type: openai, url: URL, model: big, key_variable: TEACHER_KEY, cache: CACHE, concurrency: CONCURRENCY, retries: 1, backoff_seconds: 0.0}
stages:
  traces: {type: rejection_sampling, task: sums, sampler: teacher, prompts_per_chunk: 4}
  taught: {type: evaluate, task: exam, sampler: teacher, samples: 2}
  sft: {type: sft, policy: student, task: traces, epochs: 1}
  report: {type: report}
"""
ASKED = 12 * 4
CONCURRENCY = 2
EXAMINED = 4 * 2


def solve(number: int, body: Body) -> Answer:
    """Think, and say the sum, in other words for each seed."""
    question = body["messages"][-1]["content"]
    first, sign, second = next(
        words
        for words in zip(*(question.replace("=", " ").split()[i:] for i in range(3)), strict=False)
        if words[1] in "+-"
    )
    total = int(first) + int(second) if sign == "+" else int(first) - int(second)
    return completion(rf"It is \boxed{{{total}}}.", reasoning_content=f"Let me add, seed {body['seed']}.", tokens=20)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubEndpoint]:
    monkeypatch.setenv("TEACHER_KEY", KEY)
    with StubEndpoint(solve) as server:
        yield server


def write(folder: Path, server: StubEndpoint) -> Path:
    path = folder / "taught.yaml"
    given = {"URL": server.url, "CACHE": str(folder / "cache"), "CONCURRENCY": str(CONCURRENCY)}
    path.write_text(re.sub("|".join(given), lambda name: given[name.group()], RECIPE))
    return path


def run(path: Path, *overrides: str, until: str | None = None) -> dict[str, Any]:
    registry = load_registry()
    recipe = load_recipe(path, overrides, registry)
    outcome = run_recipe(recipe, registry, path.parent / "runs", Display(), until=until)
    return {stage.name: stage for stage in outcome.stages}


def rows(stage: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (stage.directory / "data.jsonl").read_text().splitlines()]


def test_a_teacher_writes_data_and_sits_an_exam_without_any_policy(server: StubEndpoint, tmp_path: Path) -> None:
    stages = run(write(tmp_path, server), until="taught")
    kept = rows(stages["traces"])
    assert len(kept) == len(server.asked) - EXAMINED == ASKED
    assert kept[0]["response"].startswith("<think>\nLet me add")
    provenance = kept[0]["provenance"]
    assert (provenance["sampler"], provenance["model"], provenance["url"]) == ("teacher", "big", server.url)
    assert provenance["tokens"] == 20
    metrics = stages["taught"].result.metrics
    assert (metrics["pass@1"], metrics["response_length"]) == (1.0, 20.0)
    assert "flops" not in metrics


@pytest.mark.slow
def test_a_student_learns_from_a_teacher_and_the_report_tells_of_both(server: StubEndpoint, tmp_path: Path) -> None:
    stages = run(write(tmp_path, server))
    assert stages["sft"].parents == {"traces": stages["traces"].fingerprint}
    page = (stages["report"].directory / "report.html").read_text()
    assert "teacher" in page
    written = "".join(
        path.read_text("utf-8", "replace")
        for path in tmp_path.rglob("*")
        if path.suffix != ".safetensors" and path.is_file()
    )
    assert KEY not in written


def test_a_killed_run_asks_only_for_the_rest(server: StubEndpoint, tmp_path: Path) -> None:
    path, half, answered = write(tmp_path, server), threading.Event(), ASKED // 2 - 3

    def until_half(number: int, body: Body) -> Answer:
        if number > answered:
            # Only when both threads ask anew are all replies before known to be kept.
            if number == answered + CONCURRENCY:
                half.set()
            threading.Event().wait(30)
        return solve(number, body)

    server.answer = until_half
    command = [sys.executable, "-m", "ponder", "run", str(path), "--runs", str(tmp_path / "runs"), "--until", "traces"]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    assert half.wait(90)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    server.answer = solve
    server.asked.clear()
    assert len(rows(run(path, until="traces")["traces"])) == ASKED
    assert len(server.asked) == ASKED - answered


def test_rows_drawn_before_the_teacher_refuses_stay(server: StubEndpoint, tmp_path: Path) -> None:
    path = write(tmp_path, server)
    server.answer = lambda number, body: solve(number, body) if number <= 20 else (401, f"no {KEY}".encode(), {})
    with pytest.raises(
        StageError, match=r"refuses: status 401: no \*\*\*; is the key in the environment variable TEACHER_KEY"
    ):
        run(path, until="traces")
    server.answer = solve
    server.asked.clear()
    assert len(rows(run(path, until="traces")["traces"])) == ASKED
    assert len(server.asked) == ASKED - 20


def test_a_stage_that_trains_on_its_policys_words_refuses_a_teacher(server: StubEndpoint, tmp_path: Path) -> None:
    path = write(tmp_path, server)
    path.write_text(
        path.read_text() + "  reason: {type: grpo, policy: sft, task: sums, sampler: teacher, rewards: [accuracy]}\n"
    )
    with pytest.raises(
        RecipeError,
        match=r"stages.reason: learns from what its policy says, and sampler 'teacher' \(openai\) asks another model",
    ):
        load_recipe(path, (), load_registry())


def test_the_doctor_asks_whether_the_teacher_is_there_and_nothing_that_needs_a_policy(
    server: StubEndpoint, tmp_path: Path
) -> None:
    path, registry = write(tmp_path, server), load_registry()
    recipe = load_recipe(path, (), registry)

    def findings() -> dict[str, str]:
        found = examine(recipe, registry, {}, print, ("traces", "taught"))
        return {diagnosis.check: f"{diagnosis.finding.severity} {diagnosis.finding.text}" for diagnosis in found}

    server.models = ["big"]
    assert findings() == {"contamination": "fine ", "endpoint": "fine "}
    server.models = ["bigger"]
    assert "does not serve the model 'big'; did you mean 'bigger'?" in findings()["endpoint"]
