from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ponder import tracking
from ponder.errors import Interrupted, StageError
from ponder.tracking import SpooledTracker

RECIPE = """
name: toy
tracker: {type: toy}
policies:
  base: {type: toy, value: 2.0}
stages:
  first: {type: count, policy: base, steps: 2}
  second: {type: collect, policy: first, answers: 1}
"""


@pytest.fixture
def laboratory(laboratory: Any) -> Any:
    laboratory.recipe_text = RECIPE
    return laboratory


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(tracking, "SECONDS_WITHOUT", 0.3)
    monkeypatch.setattr(tracking, "SECONDS_WITH_PROGRESS", 1.0)


class Recorder:
    """Keeps its calls; `faults` are raised by the next calls of log, one each."""

    def __init__(self, *faults: BaseException) -> None:
        self.calls: list[Any] = []
        self._faults = list(faults)

    def start(self, name: str, params: Mapping[str, object]) -> None:
        self.calls.append(("start", name))

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self._faults:
            raise self._faults.pop(0)
        self.calls.append((dict(metrics), step))

    def artifact(self, path: Path) -> None:
        self.calls.append(path)

    def finish(self, status: str) -> None:
        self.calls.append(("finish", status))


def spooled(tracker: Any, directory: Path, said: list[str]) -> SpooledTracker:
    return SpooledTracker(lambda: tracker, directory / "tracking.jsonl", said.append)


def test_a_recipe_is_a_run_and_each_stage_a_run_within_it(laboratory: Any) -> None:
    laboratory.run()
    nesting = [call[:2] for call in laboratory.calls if call[0] in ("start", "finish")]

    assert nesting == [
        ("start", "toy"),
        ("start", "first"),
        ("finish", "finished"),
        ("start", "second"),
        ("finish", "finished"),
        ("finish", "finished"),
    ]


def test_metrics_timings_and_final_metrics_are_all_tracked(laboratory: Any) -> None:
    laboratory.run()
    logged = [call[1:] for call in laboratory.calls if call[0] == "log"]

    assert ({"seconds": 0.25}, 1) in logged
    assert any(set(metrics) == {"total", "odd"} and step == 0 for metrics, step in logged)
    assert any(set(metrics) == {"total"} and step is None for metrics, step in logged)


def test_an_artifact_is_found_even_after_its_stage_was_published(laboratory: Any, monkeypatch: Any) -> None:
    original = laboratory.plugin.ToyTracker.start

    def slow(self: Any, name: str, params: Any) -> None:
        time.sleep(0.15)
        original(self, name, params)

    monkeypatch.setattr(laboratory.plugin.ToyTracker, "start", slow)
    laboratory.run()

    assert [call[1] for call in laboratory.calls if call[0] == "artifact"] == ["answers.jsonl"]
    assert "tracker" not in laboratory.output


def test_a_run_in_which_nothing_happens_is_not_tracked(laboratory: Any) -> None:
    laboratory.run()
    laboratory.run()

    assert laboratory.calls == []


def test_the_tracker_changes_no_fingerprint_and_no_output(laboratory: Any, another_laboratory: Any) -> None:
    another_laboratory.recipe_text = RECIPE.replace("tracker: {type: toy}\n", "")
    laboratory.run()
    another_laboratory.run()

    assert laboratory.outputs() == another_laboratory.outputs()


def test_once_all_is_sent_the_spool_is_gone(laboratory: Any) -> None:
    laboratory.run()

    assert not (laboratory.runs / "toy" / "tracking.jsonl").exists()


@pytest.mark.parametrize("fault", ["raise", "hang"])
def test_a_tracker_that_fails_changes_no_output(laboratory: Any, another_laboratory: Any, fault: str) -> None:
    another_laboratory.recipe_text = RECIPE
    another_laboratory.run()
    laboratory.run(f"tracker.fault={fault}")

    assert laboratory.outputs() == another_laboratory.outputs()


def test_a_tracker_that_raises_is_said_once_and_its_events_stay_in_the_spool(laboratory: Any) -> None:
    laboratory.run("tracker.fault=raise")
    spool = laboratory.runs / "toy" / "tracking.jsonl"
    events = [json.loads(line) for line in spool.read_text().splitlines()]

    assert laboratory.output.count("ConnectionError: connection refused; the run goes on") == 1
    assert f"{len(events)} of {len(events)} events were not sent; they are kept in {spool}" in laboratory.output
    assert all(event.pop("time") for event in events)
    assert {"call": "log", "metrics": {"seconds": 0.25}, "step": 1} in events


def test_a_tracker_that_hangs_delays_the_end_by_a_bounded_time_and_is_said_in_one_line(laboratory: Any) -> None:
    began = time.monotonic()
    outcome = laboratory.run("tracker.fault=hang")

    assert time.monotonic() - began < 3
    assert not outcome.tracker_ended
    lines = [line for line in laboratory.output.splitlines() if "tracker" in line]
    assert len(lines) == 1 and lines[0].endswith("tracking.jsonl")


def test_a_tracker_that_cannot_be_built_is_said_once(tmp_path: Path) -> None:
    def build() -> Any:
        raise ModuleNotFoundError("No module named 'mlflow'")

    said: list[str] = []
    tracker = SpooledTracker(build, tmp_path / "tracking.jsonl", said.append)
    tracker.start("run", {})

    assert tracker.close()
    assert len(said) == 2 and "No module named 'mlflow'" in said[0] and "1 of 1 events" in said[1]


def test_a_passing_fault_loses_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    recorder = Recorder(ConnectionError("reset"), TimeoutError("slow"))
    tracker = spooled(recorder, tmp_path, said)
    tracker.log({"loss": 1.0}, 0)
    tracker.log({"loss": 0.5}, 1)
    time.sleep(0.05)
    tracker.close()

    assert recorder.calls == [({"loss": 1.0}, 0), ({"loss": 0.5}, 1)]
    assert len(said) == 1


def test_an_event_that_can_never_be_sent_does_not_hold_up_the_others(tmp_path: Path) -> None:
    said: list[str] = []
    recorder = Recorder(*[ValueError("a name with $")] * tracking.ATTEMPTS)
    tracker = spooled(recorder, tmp_path, said)
    tracker.log({"$": 1.0}, 0)
    tracker.log({"loss": 0.5}, 1)
    time.sleep(0.05)
    tracker.close()

    assert recorder.calls == [({"loss": 0.5}, 1)]
    assert "1 of 2 events were not sent" in said[-1]


def test_what_belongs_to_a_run_that_could_not_be_opened_is_not_logged_to_another(tmp_path: Path) -> None:
    class Refusing(Recorder):
        def start(self, name: str, params: Mapping[str, object]) -> None:
            super().start(name, params)
            if name == "stage":
                raise ConnectionError("refused")

    said: list[str] = []
    recorder = Refusing()
    tracker = spooled(recorder, tmp_path, said)
    tracker.start("recipe", {})
    tracker.start("stage", {})
    tracker.log({"loss": 1.0}, 0)
    tracker.finish("finished")
    tracker.log({"done": 1.0})
    tracker.close()

    assert recorder.calls == [("start", "recipe"), ("start", "stage"), ("finish", "finished"), ({"done": 1.0}, None)]


def test_a_slow_tracker_does_not_slow_the_caller(tmp_path: Path) -> None:
    gate = threading.Event()

    class Slow(Recorder):
        def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
            gate.wait()
            super().log(metrics, step)

    said: list[str] = []
    recorder = Slow()
    tracker = spooled(recorder, tmp_path, said)
    began = time.monotonic()
    for step in range(100):
        tracker.log({"loss": 1.0}, step)
    took = time.monotonic() - began
    gate.set()
    tracker.close()

    assert took < 1
    assert len(recorder.calls) == 100 and not said


def test_a_spool_that_cannot_be_written_is_said_once_and_the_tracker_still_told(tmp_path: Path) -> None:
    said: list[str] = []
    recorder = Recorder()
    tracker = SpooledTracker(lambda: recorder, tmp_path / "absent" / "tracking.jsonl", said.append)
    tracker.log({"loss": 1.0}, 0)
    tracker.log({"loss": 0.5}, 1)
    tracker.close()

    assert len(said) == 1 and "cannot write" in said[0]
    assert len(recorder.calls) == 2


def test_a_failed_stage_ends_as_failed(laboratory: Any) -> None:
    laboratory.recipe_text += "  last: {type: fail}\n"
    with pytest.raises(StageError):
        laboratory.run()

    assert [call[1] for call in laboratory.calls if call[0] == "finish"][-2:] == ["failed", "failed"]


def test_an_interrupted_stage_ends_as_killed_and_its_curves_are_whole_when_it_is_resumed(laboratory: Any) -> None:
    with pytest.raises(Interrupted):
        laboratory.run("stages.first.signal_at=0")
    assert [call[1] for call in laboratory.calls if call[0] == "finish"] == ["killed", "killed"]

    laboratory.run("stages.first.signal_at=0")
    steps = [call[2] for call in laboratory.calls if call[0] == "log" and "odd" in call[1]]
    assert steps == [0, 1]


class Registrar(Recorder):
    def published(self, directory: Path) -> None:
        self.calls.append(("published", (directory / "result.json").name))


def test_a_tracker_that_asks_for_it_is_told_where_a_finished_stage_lies(tmp_path: Path) -> None:
    tracker = Registrar()
    spool = spooled(tracker, tmp_path, [])
    spool.start("stage", {})
    spool.published(tmp_path)
    spool.finish("finished")
    assert spool.close()
    assert tracker.calls == [("start", "stage"), ("published", "result.json"), ("finish", "finished")]


def test_a_tracker_that_does_not_ask_is_not_told(tmp_path: Path) -> None:
    said: list[str] = []
    tracker = Recorder()
    spool = spooled(tracker, tmp_path, said)
    spool.start("stage", {})
    spool.published(tmp_path)
    spool.finish("finished")
    assert spool.close()
    assert (tracker.calls, said) == ([("start", "stage"), ("finish", "finished")], [])


def test_a_tracker_is_told_when_what_it_hears_of_happened(tmp_path: Path) -> None:
    class Dating:
        def __init__(self) -> None:
            self.times: list[float] = []

        def at(self, seconds: float) -> None:
            self.times.append(seconds)

        def start(self, name: str, params: Any) -> None: ...

        def log(self, metrics: Any, step: int | None = None) -> None: ...

        def artifact(self, path: Path) -> None: ...

        def finish(self, status: str) -> None: ...

    tracker = Dating()
    spool = spooled(tracker, tmp_path, [])
    before = time.time()
    spool.start("stage", {})
    spool.at(12.5)
    spool.log({"loss": 1.0})
    spool.at(None)
    spool.finish("finished")
    assert spool.close()

    started, logged, finished = tracker.times
    assert logged == 12.5
    assert before <= started <= finished <= time.time()
