"""Claims, comparisons and the paper's tables, computed from a run's numbers."""

import json

import pytest

from ponder_evaluation.claims import claims_section, statements_of
from ponder_evaluation.exams import exams_of
from ponder_evaluation.paper import distillation_section, stages_section
from ponder_evaluation.readings import Reading
from ponder_evaluation.report import read
from ponder_evaluation.scoreboard import comparison, prompt_sensitivity
from ponder_evaluation.standings import Change


def verdicts(run):
    return {statement.words: statement.verdict for statement in statements_of(read(run.stages))}


def evidence(run, words):
    return next(
        statement.evidence for statement in statements_of(read(run.stages)) if statement.words.startswith(words)
    )


def test_the_claims_of_the_recipe_hold_in_a_run_that_shows_them(whole_run):
    found = verdicts(whole_run)
    assert found["Reinforcement alone, without an example to imitate, teaches to reason"] == "yes"
    assert found["Reasoning RL lifts accuracy over the cold start"] == "yes"
    assert found["The curated SFT adds the general skills"] == "yes"
    assert found["R1-Zero is hard to read: its languages mix or its format is lost"] == "yes"
    assert found["Both distilled students beat the student of RL alone at equal compute"] == "yes"
    assert found["Worked examples in the prompt make it worse"] == "yes"


def test_a_claim_that_the_numbers_deny_is_denied(whole_run):
    whole_run.exam("reasoning", 0.1, name="reasoning_again")
    assert verdicts(whole_run)["Reasoning RL lifts accuracy over the cold start"] == "no"


def test_a_gain_within_chance_is_not_clear(whole_run):
    whole_run.exam("cold_start", 0.5, name="cold_start_again")
    whole_run.exam("reasoning", 0.52, name="reasoning_again")
    words = "Reasoning RL lifts accuracy over the cold start"
    line = evidence(whole_run, words)[0]
    low = float(line.partition("(")[2].partition(" to")[0].replace("\N{MINUS SIGN}", "-"))
    assert verdicts(whole_run)[words] == ("unclear" if low <= 0 < float(line.split(": ")[2].split()[0]) else "no")


def test_evidence_gives_numbers_with_intervals(whole_run):
    line = evidence(whole_run, "Reinforcement alone")[0]
    assert line.startswith("zero over base: ") and " points (" in line and ", p < 0.001" in line


def test_what_emerges_is_read_off_the_first_and_the_last_steps(whole_run):
    assert evidence(whole_run, "Thinking time")[0] == "zero: 10.8 → 28.8 tokens, first and last tenth of the steps"


def test_claims_are_about_whoever_plays_the_part(empty_run):
    run = empty_run
    run.pretrain("a")
    run.grpo("b", "a")
    run.exam("a", 0.1)
    run.exam("b", 0.8)
    assert evidence(run, "Reinforcement alone")[0].startswith("b over a: ")
    assert not any(words.startswith("Both distilled") for words in verdicts(run))


def test_a_run_without_exams_has_no_claims_about_them(empty_run):
    empty_run.pretrain("base")
    assert claims_section(statements_of(read(empty_run.stages))) is None


def test_ten_times_the_compute_is_shown_and_not_claimed(whole_run):
    assert verdicts(whole_run)["The same against RL with ten times the compute (no claim)"] == "shown"
    assert "rl_qwen_10x" in evidence(whole_run, "The same against RL")[0]


def test_exams_are_grouped_by_task_and_examples(whole_run):
    exams = exams_of(read(whole_run.stages).pipeline)
    assert [(exam.task, exam.shots, exam.is_general) for exam in exams] == [
        ("held_out", 0, False),
        ("wishes", 0, True),
        ("held_out", 3, False),
    ]
    assert [stage.subject for stage in exams[0].evaluations][:3] == ["base", "zero", "cold_start"]


def test_models_are_tested_against_their_start_and_their_base(whole_run):
    found = read(whole_run.stages)
    table = comparison(found.pipeline, found.exams).content
    row = next(part for part in table.split("<tr>") if "#stage-r1" in part)
    assert " on sft" in row and " on base" in row and "p &lt; 0.001" not in row and "p < 0.001" in row


def test_a_model_is_compared_with_the_nearest_that_was_measured(empty_run):
    run = empty_run
    run.pretrain("base")
    run.sft("between", "base", "none")
    run.grpo("last", "between")
    run.exam("base", 0.2)
    run.exam("last", 0.9)
    found = read(run.stages)
    assert " on base" in comparison(found.pipeline, found.exams).content


def test_evaluations_of_other_problems_are_compared_without_a_test(empty_run):
    run = empty_run
    run.pretrain("base")
    run.grpo("zero", "base")
    run.exam("base", 0.2)
    run.exam("zero", 0.9)
    path = run["zero_held_out"].directory / "evaluation.json"
    record = json.loads(path.read_text())
    for problem in record["problems"]:
        problem["key"] += "other"
    path.write_text(json.dumps(record))
    change = read(run.stages).exams[0].change("base", "zero")
    assert change.difference == pytest.approx(change.after - change.before) and change.p_value is None


@pytest.mark.parametrize("damage", ["{", "[]", '{"problems": [{"key": "a"}]}', '{"problems": 3}', '{"groups": [1]}'])
def test_a_damaged_record_leaves_the_metrics(empty_run, damage):
    run = empty_run
    run.exam("base", 0.5)
    (run["base_held_out"].directory / "evaluation.json").write_text(damage)
    (run["base_held_out"].directory / "samples.jsonl").write_text('{"correct": true}\n3\n')
    assert "All models" in run.page


def test_the_stages_stand_beside_the_papers(whole_run):
    content = stages_section(read(whole_run.stages)).content
    assert "Dev2 (reasoning RL)" in content and "AIME 2024" in content and "77.9" in content and "IF-Eval" in content


def test_where_the_miniature_disagrees_is_said_with_both_numbers(whole_run):
    whole_run.exam("cold_start", 0.95, name="cold_start_again")
    content = stages_section(read(whole_run.stages)).content
    assert "Where the miniature disagrees with the paper" in content
    assert "zero → cold_start: held_out +" in content and "AIME 2024 \N{MINUS SIGN}18.9 in the paper" in content


def test_agreement_is_said_too(whole_run):
    content = stages_section(read(whole_run.stages)).content
    assert content.count(">agrees<") >= 3


def test_distillation_stands_beside_reinforcement_with_its_compute(whole_run):
    content = distillation_section(read(whole_run.stages)).content
    assert "distilled_qwen against rl_qwen with equal compute, on held_out: +" in content
    assert "distilled_qwen against rl_qwen_10x with 10 times the compute" in content
    assert "R1-Distill-Qwen-32B" in content and "72.6" in content


def test_few_shot_is_told_against_zero_shot(whole_run):
    found = read(whole_run.stages)
    content = prompt_sensitivity(found.pipeline, found.exams, "the paper says").content
    assert "few-shot" in content and "held_out" in content and "\N{MINUS SIGN}" in content


@pytest.mark.parametrize(("p_value", "is_clear"), [(0.01, True), (0.3, False), (None, False)])
def test_a_change_is_clear_when_a_test_says_so(p_value, is_clear):
    assert Change(0.1, 0.2, 0.1, p_value=p_value).is_clear is is_clear


def test_a_reading_of_nothing_has_no_curve():
    assert Reading(name="a", type="b", fingerprint="", options={}, metrics={}).curve("loss") == []
