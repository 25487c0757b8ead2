import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from ponder import Completion, Example, StageResult
from ponder.context import FinishedStage
from ponder.errors import InputError, StageError
from ponder_evaluation import EvaluateConfig, ponder_stages
from ponder_evaluation.evaluate import EvaluateStage
from ponder_evaluation.judges import judge_of

PARTS = [("right", ["sums"]), ("polite", ["chat"]), ("any", [])]


def config(**options):
    fields = {"policy": "base", "task": "sums", "rewards": ["accuracy"], "sampler": "nucleus", "samples": 4}
    return EvaluateConfig(**{**fields, "examples_per_chunk": 3, **options})


def evaluate(context, **options):
    return EvaluateStage(config(**options)).run(context).metrics


def test_two_right_of_four_samples_are_one_half(make_context):
    metrics = evaluate(make_context())
    assert metrics["pass@1"] == 0.5
    assert metrics["pass@4"] == 1.0
    assert metrics["cons@4"] == 1.0
    assert metrics["pass@1_low"] < 0.5 < metrics["pass@1_high"]


def test_responses_are_measured(make_context):
    metrics = evaluate(make_context())
    assert metrics["response_length"] == metrics["response_length_p50"] == 2.5
    assert metrics["response_length_p10"] == 1
    assert metrics["response_length_p90"] == 4
    assert metrics["format_rate"] == 1.0
    assert metrics["language_consistency"] == 1.0
    assert metrics["reflection_rate"] == metrics["truncated"] == metrics["mixed_languages"] == 0.0


def test_difficulties_are_told_apart(make_context):
    metrics = evaluate(make_context())
    assert metrics["pass@1/0"] == metrics["pass@1/1"] == 0.5
    assert metrics["response_length/1"] == 2.5


def test_every_k_asked_for_is_reported(make_context):
    metrics = evaluate(make_context(), pass_at=[2, 3])
    assert metrics["pass@2"] == pytest.approx(1 - 1 / 6)
    assert "pass@3" in metrics and "pass@4" not in metrics


def test_a_sample_without_a_score_counts_as_wrong_and_is_counted(make_context, fakes):
    metrics = evaluate(make_context(rubric=fakes["rubric"](fails=["<answer>0</answer>"])))
    assert metrics["unscored"] == 2
    assert metrics["pass@1"] == 6 / 16


def test_what_the_rewards_count_is_passed_on(make_context):
    metrics = evaluate(make_context())
    assert metrics["rewards/accuracy"] == 0.5
    assert metrics["rewards/accuracy/error"] == 0.0


def test_only_the_first_examples_are_taken_when_a_limit_is_set(make_context):
    context = make_context()
    evaluate(context, max_examples=2)
    assert [asked[0] for asked in context.made["sampler"].asked] == [("0", "2")]


def test_each_chunk_has_a_seed_of_its_own_and_the_same_next_time(make_context):
    first, second = make_context(), make_context()
    second.directory = first.directory / "again"
    second.directory.mkdir()
    evaluate(first)
    evaluate(second)
    seeds = [asked[2] for asked in first.made["sampler"].asked]
    assert len(set(seeds)) == 2
    assert first.made["sampler"].asked == second.made["sampler"].asked


def test_a_killed_evaluation_asks_nothing_twice_and_ends_with_the_same_numbers(make_context, tmp_path):
    whole = make_context()
    whole.directory = tmp_path / "whole"
    whole.directory.mkdir()
    expected = evaluate(whole)
    with pytest.raises(KeyboardInterrupt):
        evaluate(make_context(killed_after=1))
    resumed = make_context()
    assert evaluate(resumed) == expected
    assert [asked[0] for asked in resumed.made["sampler"].asked] == [("4",)]
    assert resumed.made["rubric"].scored == 4
    assert (resumed.directory / "samples.jsonl").read_bytes() == (whole.directory / "samples.jsonl").read_bytes()


def test_every_sample_is_a_row(make_context):
    context = make_context()
    evaluate(context)
    rows = [json.loads(line) for line in (context.directory / "samples.jsonl").read_text().splitlines()]
    assert len(rows) == 16
    first = {
        name: rows[0][name] for name in ("problem", "difficulty", "prompt", "answer", "correct", "length", "scores")
    }
    assert first == {
        "problem": 0,
        "difficulty": "0",
        "prompt": "0 + 0 =",
        "answer": "0",
        "correct": True,
        "length": 1,
        "scores": {"accuracy": 1.0},
    }


def test_the_evaluation_says_how_it_was_measured(make_context):
    context = make_context()
    metrics = evaluate(context)
    record = json.loads((context.directory / "evaluation.json").read_text())
    assert record["metrics"] == metrics
    assert record["options"]["sampler"] == "nucleus"
    problem = record["problems"][1]
    assert (problem["problem"], problem["difficulty"], problem["samples"], problem["correct"]) == (1, "1", 4, 2)
    assert (problem["formatted"], problem["readable"], problem["asked_in"], problem["length"]) == (4, 4, "en", 2.5)
    assert {name: [point["k"] for point in record["curves"][name]] for name in ("pass@k", "cons@k")} == {
        "pass@k": [1, 2, 4],
        "cons@k": [1, 2, 4],
    }
    assert [row["value"] for row in record["groups"]["difficulty"]] == ["0", "1"]
    assert record["contamination"] == {"contaminated": 0, "problems": [], "checked": [], "unchecked": []}


def test_metrics_and_tables_reach_the_tracker(make_context):
    context = make_context()
    metrics = evaluate(context)
    assert context.logged == [(metrics, None)]
    assert context.artifacts == ["samples.jsonl", "evaluation.json"]


def test_an_empty_task_is_refused(make_context, fakes):
    with pytest.raises(InputError, match="task 'sums' has no examples"):
        evaluate(make_context(task=fakes["task"](0)))


class Unanswered:
    def examples(self):
        return [Example("1 + 1", "2"), Example("why?")]


def test_an_example_without_an_answer_is_named(make_context):
    with pytest.raises(
        InputError, match="example 1 of task 'sums' has no answer, and reward 'accuracy' compares with one"
    ):
        evaluate(make_context(task=Unanswered()))


def test_a_reward_that_needs_no_answer_may_judge_problems_without_one(make_context, fakes):
    metrics = evaluate(make_context(task=Unanswered(), rubric=fakes["rubric"](needs_answer=False)))
    assert metrics["unscored"] == 0.0


def test_every_part_of_a_mixture_has_its_own_judge():
    sums, chat, rest = (SimpleNamespace(name=name, config=SimpleNamespace(tasks=tasks)) for name, tasks in PARTS)
    rubric = SimpleNamespace(rewards=(sums, chat, rest))
    parts = {part: judge_of(rubric, Example("?", metadata={"task": part})).name for part in ("sums", "chat", "other")}
    assert parts == {"sums": "right", "chat": "polite", "other": "any"}
    rubric.rewards = (sums, chat)
    assert judge_of(rubric, Example("?")).name == "right"


def test_the_sampler_sees_solved_examples_and_the_rows_the_question_alone(make_context):
    shown = []

    class Watching:
        def sample(self, policy, examples, n, seed):
            shown.extend(example.prompt for example in examples)
            return [[Completion("2")] * n for _ in examples]

    solved = SimpleNamespace(examples=lambda: [Example([{"role": "user", "content": "9 + 9 ="}], "18")])
    context = make_context(sampler=Watching(), tasks={"solved": solved})
    evaluate(context, shots=1, shots_from="solved")
    assert [message["content"] for message in shown[0]] == ["9 + 9 =", "18", "0 + 0 ="]
    rows = [json.loads(line) for line in (context.directory / "samples.jsonl").read_text().splitlines()]
    assert rows[0]["prompt"] == "0 + 0 ="
    plain = make_context()
    plain.directory = context.directory / "plain"
    plain.directory.mkdir()
    evaluate(plain)
    unaided = json.loads((plain.directory / "samples.jsonl").read_text().splitlines()[0])
    assert unaided["key"] == rows[0]["key"]


def test_the_work_is_counted_question_once_and_every_token(make_context):
    characters = sum(len(f"{index % 2} + {index} =") for index in range(4))
    tokens = 4 * (1 + 2 + 3 + 4)
    assert evaluate(make_context())["flops"] == 2 * 6 * (characters + tokens)


def test_problems_that_were_trained_on_are_counted_and_told(make_context, fakes):
    context = make_context(tasks={"leaked": fakes["task"](2)})
    context.stages["base"] = FinishedStage("base", "grpo", Path(), StageResult(), "f", {"task": "leaked"})
    metrics = evaluate(context)
    assert metrics["contaminated"] == 2.0
    assert "2 of the 4 problems of task 'sums' are among the prompts behind policy 'base'" in context.said[0]
    record = json.loads((context.directory / "evaluation.json").read_text())
    assert record["contamination"]["checked"] == [{"stage": "base", "task": "leaked", "prompts": 2, "shared": 2}]


def test_the_format_that_counts_can_be_r1s(make_context):
    assert evaluate(make_context(), format="r1")["format_rate"] == 0.0
    assert evaluate(make_context(), format="r1")["readable_rate"] == 0.0


def test_what_is_measured_with_is_declared():
    assert EvaluateConfig.measures == {"task"}


def test_a_sampler_that_returns_too_little_is_named(make_context):
    class Lazy:
        def sample(self, policy, examples, n, seed):
            return [[Completion("2")] for _ in examples]

    with pytest.raises(StageError, match="asked for 4 completions of each of 3 problems"):
        evaluate(make_context(sampler=Lazy()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples must be at least 1"),
        ({"examples_per_chunk": 0}, "examples_per_chunk must be at least 1"),
        ({"max_examples": 0}, "max_examples must be at least 1"),
        ({"shots": -1}, "shots must not be negative"),
        ({"shots": 2}, "shots and shots_from go together"),
        ({"shots_from": "solved"}, "shots and shots_from go together"),
        ({"pass_at": [5]}, r"pass_at must lie between 1 and samples \(4\), not \[5\]"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        config(**options)


def test_the_plan_counts_what_will_be_sampled():
    assert config(max_examples=128).plan() == "up to 128 problems of sums x 4 samples, 3 problems at a time"


def test_the_stage_is_built_by_its_name():
    components = {component.name: component for component in ponder_stages()}
    assert set(components) == {"evaluate", "report"}
    assert isinstance(components["evaluate"].make(config()), EvaluateStage)
