"""The report of a real run, through the command line."""

import json

import pytest

from ponder.cli import main

pytestmark = pytest.mark.slow

RECIPE = """
name: told
seed: 3
policies:
  base: {type: deepseek, preset: tiny}
tasks:
  sums: {type: jsonl, path: sums.jsonl}
  exam: {type: jsonl, path: exam.jsonl}
rewards:
  right: {type: accuracy}
  format: {type: format}
samplers:
  short: {type: fast, max_new_tokens: 8}
stages:
  before: {type: evaluate, policy: base, task: exam, rewards: [right], sampler: short, samples: 2}
  zero: {type: grpo, policy: base, task: sums, rewards: [right, format], sampler: short, group_size: 2, prompts_per_step: 2, steps: 2,
    probes: 1}
  after: {type: evaluate, policy: zero, task: exam, rewards: [right], sampler: short, samples: 2}
  report: {type: report, title: What was told}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The recipe, run twice, in two places."""
    folder = tmp_path_factory.mktemp("told")
    rows = [{"prompt": f"What is {n} plus one?", "answer": str(n + 1), "difficulty": n % 2} for n in range(6)]
    for name, chosen in (("sums", rows[:3]), ("exam", rows[3:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chosen))
    (folder / "told.yaml").write_text(RECIPE)
    for runs in ("runs", "other_runs"):
        assert main(["run", str(folder / "told.yaml"), "--runs", str(folder / runs)]) == 0
    return folder


def test_a_recipe_ends_with_its_report(folder):
    page = (folder / "runs" / "told" / "report" / "report.html").read_text()
    assert "<h1>What was told</h1>" in page
    assert 'id="stage-zero"' in page and "Rewards" in page and "The same problem, all models" in page


def test_the_bytes_of_a_report_do_not_depend_on_time_or_place(folder):
    pages = [(folder / runs / "told" / "report" / "report.html").read_bytes() for runs in ("runs", "other_runs")]
    assert pages[0] == pages[1]


def test_a_run_that_stopped_before_its_report_can_be_told_about(folder, capsys):
    runs = folder / "part"
    assert main(["run", str(folder / "told.yaml"), "--runs", str(runs), "--until", "zero"]) == 0
    capsys.readouterr()
    assert main(["report", str(runs / "told")]) == 0
    page = runs / "told" / "report.html"
    assert capsys.readouterr().out.strip() == str(page)
    assert "<h1>told</h1>" in page.read_text() and 'id="stage-zero"' in page.read_text()
