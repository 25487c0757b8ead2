"""A tracking database that is migrated once, and published stages as a run leaves them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

METRICS = {"loss": 0.5, "odd": None}


@pytest.fixture(scope="session")
def migrated(tmp_path_factory):
    """An SQLite database with MLflow's tables: making them takes seconds."""
    path = tmp_path_factory.mktemp("migrated") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def runs(tmp_path, migrated):
    """A directory of runs with an empty tracking database."""
    directory = tmp_path / "runs"
    directory.mkdir()
    shutil.copy(migrated, directory / "mlflow.db")
    return directory


class Reader:
    """What a reader of the database sees."""

    def __init__(self, runs):
        self.client = MlflowClient(f"sqlite:///{runs}/mlflow.db")
        self.experiment = self.client.get_experiment_by_name("ponder").experiment_id
        self.found = self.client.search_runs([self.experiment])
        self.runs = {run.info.run_name: run for run in reversed(self.found)}

    def id(self, name):
        return self.runs[name].info.run_id

    def tag(self, name, tag):
        return self.runs[name].data.tags[tag]

    def traces(self, name):
        return self.client.search_traces(locations=[self.experiment], filter_string=f"run_id = '{self.id(name)}'")


@pytest.fixture
def reader(runs):
    """Reads the database of `runs` when it is called."""
    return lambda: Reader(runs)


@pytest.fixture
def publish(runs):
    """Writes a stage's directory as the store leaves it, and returns it."""

    def write(name, fingerprint, parents=(), policy=None, task=None, **record) -> Path:
        directory = runs / ".store" / fingerprint
        directory.mkdir(parents=True, exist_ok=True)
        for made in (policy, task):
            if made:
                (directory / made).touch()
        result = {"stage": name, "type": "toy", "fingerprint": fingerprint, "parents": dict(parents)}
        (directory / "result.json").write_text(
            json.dumps({**result, "policy": policy, "task": task, "metrics": METRICS})
        )
        made_from = {"name": name, "type": "toy", "version": "toy 1", "options": {}, **record}
        (directory / "options.json").write_text(json.dumps({"options": {}, "made_from": made_from}))
        return directory

    return write
