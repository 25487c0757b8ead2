import json
import os
import shutil
import socket

import pandas
import pytest
from mlflow import MlflowClient

from ponder.tracking import SpooledTracker
from ponder_mlflow import MlflowConfig, ponder_trackers
from ponder_mlflow.store import CLIENT_SETTINGS, TrackingError
from ponder_mlflow.tracker import MlflowTracker


@pytest.fixture(scope="module")
def tracked(tmp_path_factory, migrated):
    """A recipe's run with one stage, in an SQLite database of its own."""
    runs = tmp_path_factory.mktemp("runs")
    shutil.copy(migrated, runs / "mlflow.db")
    tracker = MlflowTracker(MlflowConfig(), runs)
    tracker.start("recipe", {"seed": 0, "policies": {"base": {"uri": "https://ann:s3cret@host"}}})
    tracker.start("reason", {"group_size": 16})
    tracker.log({"reward": 0.5, "pass@1": 0.25, "kl": float("inf")}, 1)
    tracker.log({"reward": 0.75}, 2)
    rows = runs / "samples.jsonl"
    rows.write_text(json.dumps({"prompt": "1 + 1", "completion": "\ud800 2"}) + "\n")
    tracker.artifact(rows)
    tracker.artifact(rows)
    page = runs / "report.html"
    page.write_text("<p>A page</p>")
    tracker.artifact(page)
    tracker.finish("failed")
    tracker.finish("finished")
    return Store(runs)


class Store:
    """What a reader of the database sees."""

    def __init__(self, runs):
        self.client = MlflowClient(f"sqlite:///{runs}/mlflow.db")
        experiment = self.client.get_experiment_by_name("ponder")
        self.experiment = experiment
        self.found = self.client.search_runs([experiment.experiment_id])
        self.runs = {run.info.run_name: run for run in self.found}
        self.database = (runs / "mlflow.db").read_bytes()

    def artifacts(self, name):
        return {file.path for file in self.client.list_artifacts(self.runs[name].info.run_id)}


def test_a_stage_is_a_run_nested_in_the_recipes(tracked):
    parent = tracked.runs["recipe"].info.run_id
    assert tracked.runs["reason"].data.tags["mlflow.parentRunId"] == parent
    assert "mlflow.parentRunId" not in tracked.runs["recipe"].data.tags


def test_a_run_that_is_told_of_later_has_the_times_at_which_things_happened(tmp_path, migrated):
    shutil.copy(migrated, tmp_path / "mlflow.db")
    tracker = MlflowTracker(MlflowConfig(), tmp_path)
    tracker.at(1000.5)
    tracker.start("recipe", {})
    tracker.at(1002.0)
    tracker.log({"reward": 0.5}, 1)
    tracker.at(1003.0)
    tracker.finish("finished")
    store = Store(tmp_path)
    info = store.runs["recipe"].info
    assert (info.start_time, info.end_time) == (1000500, 1003000)
    assert [m.timestamp for m in store.client.get_metric_history(info.run_id, "reward")] == [1002000]


def test_each_run_ends_with_its_own_status(tracked):
    assert tracked.runs["reason"].info.status == "FAILED"
    assert tracked.runs["recipe"].info.status == "FINISHED"


def test_parameters_are_flattened(tracked):
    assert tracked.runs["reason"].data.params == {"group_size": "16"}
    assert tracked.runs["recipe"].data.params["policies.base.uri"] == "https://host"


def test_a_password_is_stored_nowhere(tracked):
    assert b"s3cret" not in tracked.database


def test_metrics_keep_their_steps(tracked):
    history = tracked.client.get_metric_history(tracked.runs["reason"].info.run_id, "reward")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.75)]


def test_a_non_finite_metric_is_left_out(tracked):
    assert tracked.runs["reason"].data.metrics == {"reward": 0.75, "pass_at_1": 0.25}


def test_json_lines_become_a_table_as_mlflow_writes_its_own(tracked, tmp_path):
    file = tracked.client.download_artifacts(tracked.runs["reason"].info.run_id, "samples.json", str(tmp_path))
    table = pandas.read_json(file, orient="split", convert_axes=False)
    assert table.to_dict("records") == [{"prompt": "1 + 1", "completion": "? 2"}]
    tags = tracked.runs["reason"].data.tags
    assert json.loads(tags["mlflow.loggedArtifacts"]) == [{"path": "samples.json", "type": "table"}]


def test_other_files_are_kept_as_they_are(tracked):
    assert tracked.artifacts("reason") == {"samples.json", "report.html"}
    assert tracked.artifacts("recipe") == set()


def test_files_lie_beside_the_runs(tracked):
    assert tracked.experiment.artifact_location.endswith("/mlartifacts")


def test_finishing_more_often_than_starting_does_nothing(tmp_path):
    MlflowTracker(MlflowConfig(), tmp_path).finish("finished")
    assert not (tmp_path / "mlflow.db").exists()


def test_building_the_tracker_touches_neither_disk_nor_environment(tmp_path):
    before = dict(os.environ)
    (component,) = ponder_trackers()
    component.make(MlflowConfig(), runs=tmp_path / "runs")
    assert dict(os.environ) == before
    assert not (tmp_path / "runs").exists()


def test_an_empty_experiment_name_is_refused():
    with pytest.raises(ValueError, match="experiment must have a name"):
        MlflowConfig(experiment=" ")


def test_a_stage_that_could_not_be_opened_leaves_the_runs_around_it_right(runs, monkeypatch):
    tracker = MlflowTracker(MlflowConfig(), runs)
    tracker.start("recipe", {})
    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "create_run", raise_an_error)
        with pytest.raises(TrackingError, match="the disk is full"):
            tracker.start("lost", {})
    tracker.log({"of": 1.0})
    tracker.finish("failed")
    tracker.start("next", {})
    tracker.finish("finished")
    tracker.finish("finished")
    store = Store(runs)
    assert store.runs["next"].data.tags["mlflow.parentRunId"] == store.runs["recipe"].info.run_id
    assert {name: run.info.status for name, run in store.runs.items()} == {"recipe": "FINISHED", "next": "FINISHED"}
    assert store.runs["recipe"].data.metrics == {}


def raise_an_error(*args, **kwargs):
    raise OSError("the disk is full")


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """A tracker for a port where nothing listens."""
    for name in CLIENT_SETTINGS:
        monkeypatch.setenv(name, CLIENT_SETTINGS[name])
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return MlflowTracker(MlflowConfig(uri=f"http://ann:s3cret@127.0.0.1:{port}"), tmp_path)


def test_a_refused_server_is_told_without_its_password(refused):
    with pytest.raises(TrackingError, match="MLflow did not take it") as caught:
        refused.start("recipe", {})
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_what_belongs_to_a_run_that_never_opened_is_left_out(refused, tmp_path):
    with pytest.raises(TrackingError):
        refused.start("recipe", {})
    refused.log({"reward": 1.0})
    refused.artifact(tmp_path / "report.html")
    refused.finish("finished")


def test_a_server_that_is_down_is_said_once_and_the_events_are_kept(refused, tmp_path):
    said = []
    tracker = SpooledTracker(lambda: refused, tmp_path / "tracking.jsonl", said.append)
    tracker.start("recipe", {"seed": 0})
    for step in range(50):
        tracker.log({"reward": step / 50}, step)
    tracker.finish("finished")
    tracker.close()
    assert len(said) == 2
    assert "MLflow did not take it" in said[0]
    assert "events were not sent" in said[1]
    assert len((tmp_path / "tracking.jsonl").read_text().splitlines()) == 52
