"""The MLflow tracker: nested runs through MlflowClient alone, never the fluent API's global state."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ponder.errors import PonderError
from ponder_mlflow.names import flatten, metric_name, parameter_value, without_credentials
from ponder_mlflow.tables import read_table

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    from ponder_mlflow import MlflowConfig

LOGGED_TABLES: Final = "mlflow.loggedArtifacts"
LARGEST_BATCH: Final = 1000
"""Metrics that MLflow takes in one call."""
SECONDS_BETWEEN_BATCHES: Final = 2.0
STATUSES: Final = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}

# By default MLflow waits four minutes for a server that refuses and sixteen for one that never answers.
CLIENT_SETTINGS: Final = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT": "60",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


class TrackingError(PonderError):
    """MLflow could not take what it was given; the run goes on without it."""


class MlflowTracker:
    """A run for the recipe, and a nested run for each stage.

    Every `start` must have its `finish`, also one that raised; only `log` and `artifact` may be tried again.
    """

    def __init__(self, config: MlflowConfig, runs: Path) -> None:
        self._config = config
        self._runs = runs.absolute()
        # A run that could not be opened is None: what belongs to it is left out, and the runs around it stay right.
        self._open: list[str | None] = []
        self._waiting: list[Metric] = []
        self._flushed = time.monotonic()

    def start(self, name: str, params: Mapping[str, object]) -> None:
        """Open a run, nested in the one that is open, with its parameters flattened to dotted names."""
        self._flush()
        parent = next((run for run in reversed(self._open) if run), None)
        self._open.append(None)
        with _told_to_the_user():
            run = self._open[-1] = self._create_run(name, parent)
            self._log_parameters(run, params)

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log the finite ones among the metrics; MLflow would store infinity as 1.8e308.

        They are gathered and sent every other second: a call costs MLflow the same for one number as for hundreds.
        """
        from mlflow.entities import Metric

        if not self._innermost():
            return
        now = _milliseconds()
        self._waiting += [
            Metric(metric_name(name), float(value), now, step or 0)
            for name, value in metrics.items()
            if math.isfinite(value)
        ]
        if time.monotonic() - self._flushed >= SECONDS_BETWEEN_BATCHES:
            self._flush()

    def artifact(self, path: Path) -> None:
        """Keep a file; JSON Lines become a table, which MLflow shows and compares between runs."""
        run = self._innermost()
        if not run:
            return
        self._flush()
        with _told_to_the_user():
            if path.suffix == ".jsonl":
                self._log_table(run, path)
            else:
                self._client.log_artifact(run, str(path))

    def finish(self, status: str) -> None:
        """Close the innermost run with MLflow's name of the status."""
        try:
            self._flush()
        finally:
            self._waiting.clear()
            run = self._open.pop() if self._open else None
        if run:
            with _told_to_the_user():
                self._client.set_terminated(run, STATUSES.get(status, "FAILED"))

    def _flush(self) -> None:
        """Send what has gathered for the innermost run; what MLflow does not take stays for the next time."""
        run = self._innermost()
        while run and self._waiting:
            with _told_to_the_user():
                self._client.log_batch(run, metrics=self._waiting[:LARGEST_BATCH])
            del self._waiting[:LARGEST_BATCH]
        self._flushed = time.monotonic()

    @cached_property
    def _client(self) -> MlflowClient:
        for name, value in CLIENT_SETTINGS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        # Its migrations are told line by line, in the midst of the progress bars; importing it sets these levels.
        for name in ("mlflow", "mlflow.store.db.utils", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)

        self._runs.mkdir(parents=True, exist_ok=True)
        return MlflowClient(tracking_uri=self._uri)

    @property
    def _uri(self) -> str:
        return self._config.uri or f"sqlite:///{self._runs / 'mlflow.db'}"

    @cached_property
    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(self._config.experiment)
        if found is None:
            return self._client.create_experiment(self._config.experiment, artifact_location=self._artifact_location)
        return str(found.experiment_id)

    @property
    def _artifact_location(self) -> str | None:
        """A database holds no files: they go beside the runs. A server knows its own place."""
        is_database = self._uri.startswith(("sqlite:", "postgresql", "mysql", "mssql"))
        return (self._runs / "mlartifacts").as_uri() if is_database else None

    def _create_run(self, name: str, parent: str | None) -> str:
        tags = {"mlflow.source.name": "ponder", "mlflow.source.type": "LOCAL"}
        if parent:
            tags["mlflow.parentRunId"] = parent
        run = self._client.create_run(self._experiment, start_time=_milliseconds(), tags=tags, run_name=name)
        return str(run.info.run_id)

    def _log_parameters(self, run: str, params: Mapping[str, object]) -> None:
        from mlflow.entities import Param

        values = {metric_name(name): parameter_value(value) for name, value in flatten(params)}
        self._client.log_batch(run, params=[Param(name, value) for name, value in values.items()])

    def _log_table(self, run: str, path: Path) -> None:
        """What `mlflow.log_table` writes, without a data frame and without appending to what an earlier call wrote."""
        name = f"{path.stem}.json"
        self._client.log_text(run, json.dumps(read_table(path), ensure_ascii=False), name)
        tags = self._client.get_run(run).data.tags
        tables = [*json.loads(tags.get(LOGGED_TABLES, "[]"))]
        entry = {"path": name, "type": "table"}
        if entry not in tables:
            self._client.set_tag(run, LOGGED_TABLES, json.dumps([*tables, entry]))

    def _innermost(self) -> str | None:
        return self._open[-1] if self._open else None


@contextmanager
def _told_to_the_user() -> Iterator[None]:
    """MLflow's messages repeat the tracking URI, which may hold a password."""
    try:
        yield
    except Exception as error:
        message = without_credentials(f"{type(error).__name__}: {error}")
        raise TrackingError(f"MLflow did not take it: {message}") from None


def _milliseconds() -> int:
    return int(time.time() * 1000)
