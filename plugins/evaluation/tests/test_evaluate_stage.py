import json

import pytest

from ponder import Completion, Example
from ponder.errors import InputError, StageError
from ponder_evaluation import EvaluateConfig, ponder_stages
from ponder_evaluation.evaluate import EvaluateStage


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
    assert record["problems"][1] == {"problem": 1, "difficulty": "1", "samples": 4, "correct": 2}


def test_metrics_and_tables_reach_the_tracker(make_context):
    context = make_context()
    metrics = evaluate(context)
    assert context.logged == [(metrics, None)]
    assert context.artifacts == ["samples.jsonl", "evaluation.json"]


def test_an_empty_task_is_refused(make_context, fakes):
    with pytest.raises(InputError, match="task 'sums' has no examples"):
        evaluate(make_context(task=fakes["task"](0)))


def test_an_example_without_an_answer_is_named(make_context):
    class Unanswered:
        def examples(self):
            return [Example("1 + 1", "2"), Example("why?")]

    with pytest.raises(InputError, match="example 1 of task 'sums' has no answer"):
        evaluate(make_context(task=Unanswered()))


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
