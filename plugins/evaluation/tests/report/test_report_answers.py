"""The browser of answers: which are shown, how they travel to the page's script, and what stands without it."""

import json
import re

from ponder_evaluation.exams import exams_of
from ponder_evaluation.report import read
from ponder_evaluation.rollouts import LONGEST_ANSWER, as_data, sample_problems


def problems_of(run):
    return sample_problems(exams_of(read(run.stages).pipeline))


def data_of(run):
    return json.loads(
        re.search(r'<script type="application/json" id="rollouts">(.*?)</script>', run.page, re.DOTALL).group(1)
    )


def test_all_models_answer_the_same_problem_side_by_side(whole_run):
    first = data_of(whole_run)["problems"][0]
    models = [data_of(whole_run)["models"][answers["model"]]["name"] for answers in first["models"]]
    assert models[:3] == ["base", "zero", "cold_start"] and len(models) == len(set(models)) == 10


def test_the_exams_take_turns(whole_run):
    exams = [problem.exam for problem in problems_of(whole_run)]
    assert exams[:4] == ["held_out", "wishes", "held_out", "wishes"]


def test_an_answer_and_one_of_the_other_verdict_are_shown(whole_run):
    for problem in problems_of(whole_run):
        for answers in problem.models:
            verdicts = [answer.correct for answer in answers.shown]
            assert len(verdicts) == (2 if 0 < answers.right < answers.total else 1)
            assert len(set(verdicts)) == len(verdicts)


def test_problems_are_counted_and_answers_cut(empty_run):
    empty_run.exam("base", 0.5, text="x" * 10_000)
    problems = problems_of(empty_run)
    assert len(problems) == 24
    assert all(
        len(answer.text) < LONGEST_ANSWER + 40 for problem in problems for a in problem.models for answer in a.shown
    )


def test_the_sample_is_bounded_as_a_whole(empty_run, monkeypatch):
    monkeypatch.setattr("ponder_evaluation.rollouts.MOST_CHARACTERS", 5000)
    empty_run.exam("base", 0.5, text="y" * 1000)
    assert 1 <= len(problems_of(empty_run)) < 5


def test_answers_with_worked_examples_are_not_mixed_in(whole_run):
    shown = [answers.total for problem in problems_of(whole_run) for answers in problem.models if answers.model == "r1"]
    assert set(shown) == {4}


def test_rows_without_keys_are_joined_by_problem_and_question(empty_run):
    for model in ("base", "zero"):
        empty_run.exam(model, 0.5)
        path = empty_run[f"{model}_held_out"].directory / "samples.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "key"}) + "\n" for row in rows))
    assert all(len(problem.models) == 2 for problem in problems_of(empty_run))


def test_models_keep_their_colours_in_the_browser(whole_run):
    found = read(whole_run.stages)
    data = as_data(found.pipeline, problems_of(whole_run))
    assert {model["name"]: model["class"] for model in data["models"]}["r1"] == f"m{found.pipeline.models['r1'].colour}"


def test_some_problems_stand_there_without_a_script(whole_run):
    static = whole_run.page.partition('id="browser"')[2].partition("<script")[0]
    assert static.count("<article>") == 3
    assert "held_out: what is 1 + 0?" in static and "of 4 right" in static and "Reference answer: 1" in static


def test_a_run_without_answers_has_no_browser_and_no_script(empty_run):
    empty_run.pretrain("base")
    assert "<script" not in empty_run.page


def test_one_problem_is_shown_at_several_steps(empty_run):
    empty_run.grpo("zero", "base")
    rows = [
        {"step": step, "prompt": "3 + 4 =", "answer": "7", "completion": f"probe at {step}", "tokens": 5, "score": 1.1}
        for step in range(0, 60, 5)
    ]
    (empty_run["zero"].directory / "probes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = empty_run.page
    assert page.count("probe at") == 6 and "probe at 0<" in page and "probe at 55<" in page
