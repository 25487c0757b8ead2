from pathlib import Path

import pytest

from ponder import StageResult
from ponder.context import FinishedStage
from ponder_evaluation import published
from ponder_evaluation.distillation import compute_table


def stage(name, *parents, makes="policy", flops=None, metrics=None, **options):
    made = {makes: Path(name)} if makes else {}
    numbers = {**({"flops": flops} if flops is not None else {}), **(metrics or {})}
    return FinishedStage(
        name, "any", Path(name), StageResult(**made, metrics=numbers), name, options, dict.fromkeys(parents, "f")
    )


def exam(policy, value, task="held_out"):
    metrics = {"pass@1": value, "pass@1_low": value - 0.1, "pass@1_high": value + 0.1, "flops": 5.0}
    return stage(f"{policy}_exam", policy, makes=None, metrics=metrics, policy=policy, task=task)


RECIPE = [
    stage("base", flops=900.0, policy="v3"),
    stage("reasoning", "base", flops=700.0, policy="base", task="problems"),
    stage("curated", "reasoning", makes="task", flops=60.0, policy="reasoning", task="problems"),
    stage("sft", "base", "curated", flops=30.0, policy="base", task="sft_data"),
    stage("qwen_base", flops=500.0, policy="qwen"),
    stage("llama_base", flops=500.0, policy="llama"),
    stage("distilled_qwen", "qwen_base", "curated", flops=40.0, policy="qwen_base", task="sft_data"),
    stage("distilled_llama", "llama_base", "curated", flops=90.0, policy="llama_base", task="sft_data"),
    stage(
        "rl_qwen", "qwen_base", "curated", "distilled_qwen", flops=102.0, policy="qwen_base", task="problems",
        compute_of=["curated", "distilled_qwen"],
    ),
    stage(
        "rl_10x", "qwen_base", "curated", "distilled_qwen", flops=1000.0, policy="qwen_base", task="problems",
        compute_of=["curated", "distilled_qwen"], compute_factor=10,
    ),
]  # fmt: skip
EXAMS = [
    exam("qwen_base", 0.1),
    exam("sft", 0.7),
    exam("distilled_qwen", 0.6),
    exam("distilled_qwen", 0.5, "general"),
    exam("distilled_llama", 0.55),
    exam("rl_qwen", 0.2),
    exam("rl_10x", 0.4),
]


def test_students_stand_beside_reinforcement_with_what_each_cost():
    table = compute_table([*RECIPE, *EXAMS])
    assert table.reference == ("curated", "distilled_qwen")
    assert table.reference_flops == 100.0
    found = {(row.model, row.task): row for row in table.rows}
    assert list(found) == [
        ("distilled_qwen", "held_out"),
        ("distilled_llama", "held_out"),
        ("rl_qwen", "held_out"),
        ("rl_10x", "held_out"),
        ("distilled_qwen", "general"),
    ]
    student, teacherless = found["distilled_qwen", "held_out"], found["rl_qwen", "held_out"]
    assert (student.method, student.stages, student.relative) == ("distillation", ("distilled_qwen", "curated"), 1.0)
    assert (teacherless.method, teacherless.stages, teacherless.flops) == ("reinforcement", ("rl_qwen",), 102.0)
    assert found["rl_10x", "held_out"].relative == 10.0
    assert found["distilled_llama", "held_out"].relative == 1.5
    assert (student.pass_at_1, student.low, student.high) == (0.6, 0.5, 0.7)


def test_the_teachers_own_family_is_no_student():
    assert "sft" not in {row.model for row in compute_table([*RECIPE, *EXAMS]).rows}


def test_a_recipe_that_gives_nobody_the_compute_of_others_has_no_table():
    assert compute_table([*RECIPE[:-2], *EXAMS]) is None
    assert compute_table([]) is None


def test_a_stage_that_did_not_count_is_left_out():
    uncounted = stage("distilled_llama", "llama_base", "curated", policy="llama_base")
    table = compute_table([*(row for row in RECIPE if row.name != "distilled_llama"), uncounted, *EXAMS])
    assert "distilled_llama" not in {row.model for row in table.rows}


@pytest.mark.parametrize("table", [published.RL_AGAINST_DISTILLATION, published.DISTILLED, published.STAGES])
def test_a_published_table_is_complete_and_says_where_it_is_from(table):
    assert table.source.startswith("DeepSeek-R1")
    assert all(len(row.values) == len(table.columns) for row in table.rows)


def test_published_numbers_agree_between_tables():
    distilled = {row.name: row.values for row in published.DISTILLED.rows}
    against = {row.name: row.values for row in published.RL_AGAINST_DISTILLATION.rows}
    for name in ("QwQ-32B-Preview", "R1-Distill-Qwen-32B"):
        assert distilled[name][:5] == against[name]
    assert against["R1-Zero-Qwen-32B (RL)"][0] == 47.0
    stages = {row.name: row.values for row in published.STAGES.rows}
    assert stages["AIME 2024"] == (77.9, 59.0, 74.0, 78.1, 79.8)
