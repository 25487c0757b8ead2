import importlib.util
import json
from pathlib import Path

import pytest
from scipy import stats

from ponder import StageResult
from ponder.context import FinishedStage
from ponder.store import stages_in
from ponder_evaluation.comparison import read_evaluation
from ponder_evaluation.evidence import (
    AtLeast,
    Below,
    Claim,
    Gain,
    NotBelow,
    Outcome,
    examine,
    mean_interval,
    r1_claims,
    read_exams,
)

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "evidence.py"


def record(policy, correct, task="held_out", formatted=4, **options):
    problems = [
        {
            "problem": number,
            "key": f"{task}-{number}",
            "samples": 4,
            "correct": count,
            "formatted": formatted,
            "readable": formatted,
            "consistency": 1.0,
            "length": 10.0 + count,
        }
        for number, count in enumerate(correct)
    ]
    return {"options": {"policy": policy, "task": task, **options}, "metrics": {}, "problems": problems}


def exams(**correct):
    return {(name, "held_out"): read_evaluation(name, record(name, counts)) for name, counts in correct.items()}


def found(check, *runs, needs="all"):
    return examine([Claim("claim", (check,), needs)], runs)[0]


def test_a_level_is_held_against_its_bound():
    run = exams(r1=[4, 4, 3, 4])
    assert found(AtLeast("r1", "held_out", "correct", 0.9), run).verdict == "yes"
    assert found(Below("r1", "held_out", "correct", 0.9), run).verdict == "no"
    (finding,) = found(AtLeast("r1", "held_out", "correct", 0.9), run).findings
    assert finding.mean == 0.9375
    assert finding.low < 0.9375 < finding.high


def test_a_gain_is_paired_over_problems():
    (finding,) = found(
        Gain("new", "old", "held_out", "correct"), exams(old=[0, 1, 2, 3] * 4, new=[1, 2, 3, 4] * 4)
    ).findings
    assert (finding.mean, finding.verdict) == (0.25, "yes")
    assert found(Gain("new", "old", "held_out", "correct"), exams(old=[1, 2], new=[2, 1])).verdict == "no"


def test_not_below_allows_what_the_others_own_interval_leaves_open():
    old = [0, 4, 2, 4, 0, 4, 2, 0]
    assert (
        found(NotBelow("new", "old", "held_out", "correct"), exams(old=old, new=[0, 4, 2, 3, 0, 4, 2, 0])).verdict
        == "yes"
    )
    assert found(NotBelow("new", "old", "held_out", "correct"), exams(old=old, new=[0] * 8)).verdict == "no"


def test_seeds_that_disagree_are_told_apart_from_seeds_that_agree():
    better, worse = exams(old=[0, 0], new=[4, 4]), exams(old=[1, 1], new=[0, 0])
    check = Gain("new", "old", "held_out", "correct")
    assert found(check, better, better).verdict == "yes"
    assert found(check, better, worse).verdict == "on average"
    assert found(check, worse, worse).verdict == "no"


def test_a_gain_that_chance_may_explain_on_one_seed_is_not_clear():
    better, hardly = exams(old=[0, 0, 0], new=[4, 4, 4]), exams(old=[0, 2, 1], new=[4, 0, 2])
    check = Gain("new", "old", "held_out", "correct")
    assert found(check, better, hardly).verdict == "not clear"
    assert found(NotBelow("new", "old", "held_out", "correct"), better, hardly).verdict == "yes"


def test_a_run_that_did_not_measure_leaves_the_claim_open():
    assert (
        found(Gain("new", "old", "held_out", "correct"), exams(old=[1], new=[2]), exams(old=[1])).verdict
        == "not measured"
    )


def test_a_claim_needs_all_of_its_checks_or_any_or_none():
    run = exams(r1=[4, 4])
    checks = (AtLeast("r1", "held_out", "correct", 0.5), Below("r1", "held_out", "correct", 0.5))
    verdicts = {
        needs: examine([Claim("claim", checks, needs)], [run])[0].verdict for needs in ("all", "any", "nothing")
    }
    assert verdicts == {"all": "no", "any": "yes", "nothing": None}


def test_the_interval_over_seeds_is_students():
    values = [0.5, 0.6, 0.9]
    low, high = stats.t.interval(0.95, 2, loc=stats.tmean(values), scale=stats.sem(values))
    assert mean_interval([Outcome(value, 0.0, 1.0, 0.0) for value in values]) == pytest.approx(
        (2 / 3, low, high), abs=1e-4
    )


@pytest.mark.parametrize("count", [2, 5, 11, 12, 30])
def test_students_quantile_is_right_for_any_number_of_seeds(count):
    values = [float(number) for number in range(count)]
    mean, low, high = mean_interval([Outcome(value, None, None, 0.0) for value in values])
    expected = stats.t.interval(0.95, count - 1, loc=mean, scale=stats.sem(values))
    assert (low, high) == pytest.approx(expected, rel=1e-3)


def test_a_single_seed_and_seeds_that_agree_keep_the_interval_over_problems():
    one = Outcome(0.5, 0.4, 0.6, 0.0)
    assert mean_interval([one]) == mean_interval([one, one]) == (0.5, 0.4, 0.6)


def test_every_claim_of_the_issue_can_be_examined():
    claims = r1_claims()
    models = {
        name
        for claim in claims
        for check in claim.checks
        for name in (check.model, getattr(check, "over", check.model))
    }
    assert {"zero", "cold_start", "reasoning", "sft", "r1", "distilled_qwen", "distilled_llama", "rl_qwen"} <= models
    assert all(result.verdict in ("not measured", None) for result in examine(claims, [{}]))


@pytest.fixture
def run_of(tmp_path):
    """A run's directory with the given evaluations in it."""

    def made(name, *records):
        for number, content in enumerate(records):
            directory = tmp_path / name / f"exam_{number}"
            directory.mkdir(parents=True)
            options = content["options"]
            result = {"stage": directory.name, "type": "evaluate", "policy": None, "task": None, "metrics": {}}
            result |= {"fingerprint": "f", "parents": {options["policy"]: "f"}}
            (directory / "result.json").write_text(json.dumps(result))
            (directory / "options.json").write_text(json.dumps({"options": options}))
            (directory / "evaluation.json").write_text(json.dumps(content))
            (directory / "manifest.json").write_text("{}")
        return tmp_path / name

    return made


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("evidence_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_few_shot_evaluations_are_no_evidence(run_of):
    found = read_exams(stages_in(run_of("run", record("r1", [1], shots=2), record("zero", [4]))))
    assert list(found) == [("zero", "held_out")]


def test_the_script_prints_tables_in_markdown(run_of, script, capsys):
    seeds = [
        run_of(f"seed_{number}", record("zero", [0, 1 + number]), record("r1", [4, 4]), record("r1", [2, 3], "general"))
        for number in range(2)
    ]
    assert script.main([*map(str, seeds), "--general", "general"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| claim | check | seed 0 | seed 1 | mean | holds |"
    reading = next(line for line in lines if "not below zero" in line)
    assert "0.875 [" in reading and "0.750 [" in reading and "0.812 [" in reading
    assert any(line.startswith("| r1 | 1.000 [") for line in lines)
    assert any(line.startswith("| model on general") for line in lines)


def test_the_script_sets_compute_beside_accuracy(script):
    def stage(name, makes, flops, *parents, **options):
        made = StageResult(**{makes: Path(name)}, metrics={"flops": flops})
        return FinishedStage(name, "any", Path(name), made, name, options, dict.fromkeys(parents, "f"))

    def exam(policy, value):
        metrics = {"pass@1": value, "pass@1_low": value - 0.1, "pass@1_high": value + 0.1}
        options = {"policy": policy, "task": "held_out"}
        return FinishedStage(f"{policy}_exam", "evaluate", Path(), StageResult(metrics=metrics), "f", options)

    student = stage("student", "policy", 40.0, "data", policy="qwen")
    alone = stage("alone", "policy", 110.0, "data", "student", policy="qwen", compute_of=["data", "student"])
    run = [stage("data", "task", 60.0, policy="teacher"), student, alone, exam("student", 0.6), exam("alone", 0.3)]
    assert list(script.costs_table([run, run]))[2:] == [
        "| student | distillation | held_out | 1 x | 0.600 [0.500, 0.700] |",
        "| alone | reinforcement | held_out | 1.1 x | 0.300 [0.200, 0.400] |",
    ]
    assert list(script.costs_table([run[:2]])) == []


def test_the_script_names_a_directory_without_stages(tmp_path, script, capsys):
    assert script.main([str(tmp_path)]) == 2
    assert f"{tmp_path} holds no finished stage" in capsys.readouterr().err
