from pathlib import Path

import pytest

import ponder_evaluation.contamination as contamination
from ponder import Example, StageResult
from ponder.context import FinishedStage
from ponder.errors import InputError
from ponder_evaluation.contamination import find_contamination, question_of, tasks_of, warnings


class Rows:
    def __init__(self, *examples):
        self.rows = examples
        self.read = 0

    def examples(self):
        for row in self.rows:
            self.read += 1
            yield row


class Lineage:
    """A context with finished stages and tasks."""

    def __init__(self, stages, tasks):
        self._stages = {stage.name: stage for stage in stages}
        self._tasks = tasks
        self.asked = []

    def stage(self, name):
        if name not in self._stages:
            raise InputError(f"no stage {name}")
        return self._stages[name]

    def task(self, name):
        self.asked.append(name)
        if name not in self._tasks:
            raise InputError(f"{name} cannot be read\nand more")
        return self._tasks[name]


def stage(name, *parents, **options):
    return FinishedStage(name, "grpo", Path(), StageResult(), name, options, dict.fromkeys(parents, "f"))


def asks(text, **more):
    return Example([{"role": "user", "content": text}], "2", **more)


EXAM = [asks("1 + 1 ="), asks("2 + 2 ="), asks("3 + 3 =")]


def test_problems_that_an_ancestor_learnt_from_are_found():
    stages = [stage("zero", "first", task="sums"), stage("first", task="easy")]
    tasks = {"sums": Rows(asks("2 +  2\n=")), "easy": Rows(asks("9 + 9 ="), asks("1 + 1 ="), asks("1 + 1 ="))}
    found = find_contamination(Lineage(stages, tasks), "zero", EXAM)
    assert list(found.problems) == [0, 1]
    assert [(row.stage, row.task, row.prompts, row.shared) for row in found.checked] == [
        ("zero", "sums", 1, 1),
        ("first", "easy", 3, 1),
    ]
    assert warnings(found, 3, "exam", "zero") == [
        "warning: 2 of the 3 problems of task 'exam' are among the prompts behind policy 'zero' (1 in 'sums' of stage 'zero', "
        "1 in 'easy' of stage 'first'): the evaluation flatters it; keep them apart with the task `decontaminated` or another "
        "split"
    ]


def test_nothing_shared_is_nothing_to_warn_of():
    found = find_contamination(Lineage([stage("zero", task="sums")], {"sums": Rows(asks("5 + 5 ="))}), "zero", EXAM)
    assert found.problems == []
    assert warnings(found, 3, "exam", "zero") == []


def test_a_policy_that_nothing_trained_has_no_lineage():
    found = find_contamination(Lineage([], {}), "base", EXAM)
    assert (found.problems, found.checked, found.unchecked) == ([], [], [])


def test_data_that_a_stage_made_and_a_reward_model_learnt_from_count_too():
    stages = [
        stage("r1", "data", "judge", policy="base", task="data"),
        stage("data", task="problems"),
        stage("judge", task="pairs"),
    ]
    tasks = {"data": Rows(), "problems": Rows(EXAM[0]), "pairs": Rows(EXAM[2])}
    assert list(find_contamination(Lineage(stages, tasks), "r1", EXAM).problems) == [0, 2]


def test_stages_that_are_named_for_what_they_cost_are_not_ancestors():
    stages = [stage("rl", "taught", "base", policy="base", compute_of=["taught"]), stage("taught", task="exam_copy")]
    context = Lineage(stages, {"exam_copy": Rows(*EXAM)})
    assert find_contamination(context, "rl", EXAM).problems == []
    assert context.asked == []


def test_pages_of_text_are_not_compared_and_that_is_said():
    web = Rows(Example("1 + 1 ="), Example("a page"))
    found = find_contamination(Lineage([stage("base", task="web")], {"web": web}), "base", EXAM)
    assert found.problems == []
    assert [(row.task, row.reason) for row in found.unchecked] == [("web", "its rows are pages of text, not questions")]
    assert web.read == 1
    assert warnings(found, 3, "exam", "base") == []


def test_a_task_that_is_too_large_is_not_compared(monkeypatch):
    monkeypatch.setattr(contamination, "MOST_PROMPTS", 2)
    rows = Rows(*[asks(f"{number} + 1 =") for number in range(9)])
    found = find_contamination(Lineage([stage("zero", task="sums")], {"sums": rows}), "zero", EXAM)
    assert found.unchecked[0].reason == "more than 2 rows"
    assert rows.read <= 4


def test_a_task_that_cannot_be_read_any_more_is_not_compared():
    found = find_contamination(Lineage([stage("zero", task="gone")], {}), "zero", EXAM)
    assert found.unchecked[0].reason == "gone cannot be read"
    assert warnings(found, 3, "exam", "zero") == [
        "not looked through for the problems of task 'exam': task 'gone' of stage 'zero' (gone cannot be read)"
    ]


def test_a_task_of_several_stages_is_read_once():
    stages = [stage("second", "first", task="sums"), stage("first", task="sums")]
    context = Lineage(stages, {"sums": Rows(EXAM[0])})
    assert len(find_contamination(context, "second", EXAM).checked) == 2
    assert context.asked == ["sums"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"task": "a", "steps": 4, "tasks": ["b", "c"]}, ["a", "b", "c"]),
        ({"task_from": {"chat": 2}, "table_every": 3}, []),
        ({"policy": "a", "task": None}, []),
    ],
)
def test_tasks_are_what_options_of_that_name_hold(options, expected):
    assert tasks_of(stage("zero", **options)) == expected


def test_a_question_is_the_last_message_of_the_user():
    turns = [{"role": role, "content": role} for role in ("system", "user", "assistant")]
    assert question_of(Example([*turns, {"role": "user", "content": " last  one "}])) == "last one"
    assert question_of(Example("plain\ntext")) == "plain text"
