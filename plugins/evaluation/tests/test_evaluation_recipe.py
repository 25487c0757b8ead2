"""Evaluations in a recipe: zero-shot and few-shot, a mixture with two judges, leaked problems, the held-out guard, kill and resume."""

import json

import pytest

from ponder.cli import main
from ponder.plugins import load_registry
from ponder.progress import Display
from ponder.recipe import load_recipe
from ponder.rubric import Rubric
from ponder.run import run_recipe
from ponder_evaluation.comparison import compare
from ponder_evaluation.evidence import read_exams

RECIPE = """
name: exams
policies:
  base: {type: deepseek, preset: tiny}
tasks:
  exam: {type: jsonl, path: exam.jsonl}
  solved: {type: jsonl, path: solved.jsonl}
  leaked: {type: jsonl, path: leaked.jsonl}
rewards:
  right: {type: accuracy, tasks: [sums]}
  chinese: {type: language_consistency, language: zh, tasks: [chat]}
samplers:
  short: {type: fast, max_new_tokens: 12}
stages:
  zero_shot:
    {type: evaluate, policy: base, task: exam, rewards: [right, chinese], sampler: short, samples: 4, examples_per_chunk: 2}
  few_shot: {type: evaluate, policy: base, task: exam, rewards: [right, chinese], sampler: short, samples: 4, shots: 2,
    shots_from: solved}
  trained: {type: grpo, policy: base, task: leaked, rewards: [right], sampler: short, loss: {kl_coef: 0}, group_size: 2,
    prompts_per_step: 2, steps: 1, probes: 0}
  after: {type: evaluate, policy: trained, task: exam, rewards: [right, chinese], sampler: short, samples: 4, format: r1,
    language: question}
"""


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def folder(tmp_path):
    sums = [
        {"prompt": f"What is {n} plus one?", "answer": str(n + 1), "task": "sums", "difficulty": n % 2}
        for n in range(9)
    ]
    chat = [{"prompt": f"说 {n} 个词", "task": "chat"} for n in range(2)]
    write_rows(tmp_path / "exam.jsonl", [*sums[:4], *chat])
    write_rows(tmp_path / "solved.jsonl", sums[3:])
    write_rows(tmp_path / "leaked.jsonl", sums[2:6])
    (tmp_path / "exams.yaml").write_text(RECIPE)
    return tmp_path


def run(folder, runs):
    registry = load_registry()
    recipe = load_recipe(folder / "exams.yaml", [], registry)
    return {stage.name: stage for stage in run_recipe(recipe, registry, folder / runs, Display()).stages}


def outputs(stage):
    return {path.name: path.read_bytes() for path in stage.directory.iterdir() if path.name != "timings.jsonl"}


def test_a_recipe_is_evaluated_in_every_way(folder, capsys):
    assert main(["run", str(folder / "exams.yaml"), "--runs", str(folder / "runs")]) == 0
    # The display wraps long lines where the terminal ends.
    told = " ".join("".join(capsys.readouterr()).split())
    assert "2 of the 6 problems of task 'exam' are among the prompts behind policy 'trained'" in told
    stages = run(folder, "runs")
    before, few, after = (stages[name].result.metrics for name in ("zero_shot", "few_shot", "after"))
    assert (before["contaminated"], few["contaminated"], after["contaminated"]) == (0.0, 0.0, 2.0)
    assert few["flops"] > before["flops"] > 0
    assert {
        "pass@1/task/sums",
        "pass@1/task/chat",
        "pass@1/language/en",
        "pass@1/language/zh",
        "pass@1/0",
    } <= before.keys()
    assert {"readable_rate", "cons@4", "pass@4", "reflection_rate", "language_consistency"} <= after.keys()
    exams = read_exams(list(stages.values()))
    assert list(exams) == [("base", "exam"), ("trained", "exam")]
    pair = next(pair for pair in compare(list(exams.values())).pairs if pair.measure == "correct")
    assert (pair.first, pair.second, pair.problems) == ("zero_shot", "after", 6)


@pytest.mark.slow
def test_a_run_that_dies_goes_on_to_the_same_files(folder, monkeypatch):
    straight = run(folder, "straight")
    real, calls = Rubric.score, []

    def dies(*arguments):
        calls.append(None)
        if len(calls) in (2, 5):
            raise RuntimeError("power cut")
        return real(*arguments)

    monkeypatch.setattr(Rubric, "score", dies)
    for _ in range(2):
        with pytest.raises(Exception, match="power cut"):
            run(folder, "broken")
    broken = run(folder, "broken")
    for name in ("zero_shot", "few_shot", "after"):
        assert outputs(broken[name]) == outputs(straight[name])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.trained.task=exam", "learns from task 'exam'"),
        ("stages.few_shot.shots=0", "shots and shots_from go together"),
        ("stages.few_shot.shots_from=exam", "learns from task 'exam'"),
        ("stages.after.format=r2", "stages.after.format"),
        ("stages.after.language=fr", "stages.after.language"),
    ],
)
def test_what_a_recipe_may_not_say_is_refused_before_anything_runs(folder, capsys, override, message):
    assert main(["validate", str(folder / "exams.yaml"), override]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_too_few_solved_examples_stop_the_stage_with_their_number(folder, capsys):
    recipe = str(folder / "exams.yaml")
    assert main(["run", recipe, "stages.few_shot.shots=9", "--runs", str(folder / "runs")]) == 2
    assert "task 'solved' has 6 with a response or an answer" in " ".join(capsys.readouterr().err.split())
