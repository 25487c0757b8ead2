"""Rollouts as traces: few of them, with their scores."""

from __future__ import annotations

import json

import pytest

from ponder_mlflow import MlflowConfig
from ponder_mlflow.traces import calls_among
from ponder_mlflow.tracker import MlflowTracker

GRPO_ROW = {
    "step": 3,
    "prompt": "1 + 1?",
    "answer": "2",
    "completion": "<think> \ud800 </think> 2",
    "score": 1.5,
    "rewards/accuracy": 1.0,
    "rewards/format": None,
    "tokens": 7,
}
EVALUATION_ROW = {
    "prompt": "2 + 2?",
    "answer": None,
    "completion": "4",
    "correct": True,
    "scores": {"accuracy": 1.0, "style": None},
    "reward": float("nan"),
}


@pytest.fixture
def track(runs, tmp_path):
    """Tracks a stage with tables of these rows."""

    def tracked(config=MlflowConfig(), **tables):  # noqa: B008  frozen
        tracker = MlflowTracker(config, runs)
        tracker.start("recipe", {})
        tracker.start("stage", {"fingerprint": "aa"})
        for name, rows in tables.items():
            path = tmp_path / f"{name}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            tracker.artifact(path)
            tracker.artifact(path)
        tracker.finish("finished")
        tracker.finish("finished")

    return tracked


def test_a_rollout_is_a_trace_of_its_run_with_its_scores_as_assessments(track, reader):
    track(rollouts=[GRPO_ROW])
    [trace] = reader().traces("stage")
    [span] = trace.data.spans
    assert (span.inputs, span.outputs, span.span_type) == ("1 + 1?", "<think> ? </think> 2", "LLM")
    assert trace.info.tags["mlflow.traceName"] == "stage"
    assert trace.info.tags["ponder.step"] == "3"
    scores = {found.name: found.value for found in trace.info.assessments}
    assert scores == {"score": 1.5, "accuracy": 1.0, "answer": "2"}
    assert {found.source.source_id for found in trace.info.assessments} >= {"ponder.accuracy", "ponder.score"}


def test_an_evaluations_samples_are_traces_too(track, reader):
    track(samples=[EVALUATION_ROW])
    [trace] = reader().traces("stage")
    assert {found.name: found.value for found in trace.info.assessments} == {"correct": True, "accuracy": 1.0}


def test_of_many_rollouts_a_few_are_sent_from_each_table(track, reader):
    rows = [{**GRPO_ROW, "step": step} for step in range(100)]
    track(first=rows, second=rows, empty=[], no_rollouts=[{"loss": 1.0}] * 30)
    traces = reader().traces("stage")
    assert len(traces) == 20
    assert {int(trace.info.tags["ponder.step"]) for trace in traces} == set(range(0, 100, 10))


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "1 + 1?", "completion": "2"},
        {"prompt": None, "completion": "2", "score": 1.0},
        {"prompt": "1 + 1?", "score": 1.0},
        {"prompt": "1 + 1?", "completion": "2", "score": "good"},
        {},
    ],
)
def test_a_row_without_prompt_response_or_score_is_no_rollout(row):
    assert calls_among([row], 20) == []


def test_a_stage_of_few_rollouts_sends_each_once(track, reader):
    track(first=[GRPO_ROW] * 3, second=[EVALUATION_ROW])
    assert len(reader().traces("stage")) == 4


def test_how_many_is_an_option(track, reader):
    track(MlflowConfig(traces=3), first=[GRPO_ROW] * 9)
    assert len(reader().traces("stage")) == 3


def test_none_are_sent_where_none_are_wanted(track, reader):
    track(MlflowConfig(traces=0), first=[GRPO_ROW], second=[GRPO_ROW])
    assert reader().traces("stage") == []


def test_a_negative_number_of_traces_is_refused():
    with pytest.raises(ValueError, match="traces must be 0 or more"):
        MlflowConfig(traces=-1)
