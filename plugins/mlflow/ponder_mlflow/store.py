"""What is done with an MLflow tracking store, through MlflowClient alone and never the fluent API's global state."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ponder.errors import PonderError
from ponder_mlflow.lineage import Data, Publication, read_publication
from ponder_mlflow.names import flatten, metric_name, model_name, parameter_value, printable, without_credentials
from ponder_mlflow.tables import Table
from ponder_mlflow.traces import Call, trace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Metric, Run

    from ponder_mlflow import MlflowConfig

LOGGED_TABLES: Final = "mlflow.loggedArtifacts"
LONGEST_SOURCE: Final = 60_000

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


@dataclass(frozen=True, slots=True)
class Recipe:
    """The recipe that runs belong to."""

    name: str
    run: str | None
    """Its own run's id; None when it could not be opened."""


class MlflowStore:
    """An experiment of a tracking store; connects when it is first used, and raises whatever MLflow raises."""

    def __init__(self, config: MlflowConfig, runs: Path) -> None:
        self._config = config
        self._runs = runs.absolute()
        self._made_in: dict[str, str] = {}
        self._time: float | None = None

    def at(self, seconds: float) -> None:
        """What follows happened then."""
        self._time = seconds

    @property
    def now(self) -> float:
        """When what is stored happened, in seconds since 1970."""
        return time.time() if self._time is None else self._time

    def open_recipe(self, name: str, params: Mapping[str, object]) -> str:
        """The id of the recipe's run: the earlier one, if it was in the same directory and with the same parameters."""
        directory = str(self._runs / name)
        identity = hashlib.sha256(json.dumps([directory, _values(params)]).encode()).hexdigest()
        earlier = self._newest(f"tags.`ponder.identity` = '{identity}'")
        if earlier is not None:
            return self._continue(earlier)
        tags = {"ponder.recipe": name, "ponder.directory": directory, "ponder.identity": identity}
        return self._create(name, params, tags)

    def open_stage(self, name: str, params: Mapping[str, object], parent: str | None) -> str:
        """The id of a stage's run, below the recipe's if that could be opened; one that did not finish is continued."""
        tags = {"mlflow.parentRunId": parent, "ponder.fingerprint": params.get("fingerprint")}
        given = {name: str(value) for name, value in tags.items() if value}
        if len(given) == len(tags):
            same = " and ".join(f"tags.`{name}` = '{value}'" for name, value in given.items())
            unfinished = self._newest(f"{same} and attributes.status != 'FINISHED'")
            if unfinished is not None:
                return self._continue(unfinished)
        return self._create(name, params, given)

    def close(self, run: str, status: str) -> None:
        """End a run."""
        self._client.set_terminated(run, status, end_time=int(self.now * 1000))

    def log_metrics(self, run: str, metrics: Sequence[Metric]) -> None:
        """At most 1,000 at once."""
        self._client.log_batch(run, metrics=metrics)

    def log_file(self, run: str, path: Path) -> None:
        """Keep a file as it is."""
        self._client.log_artifact(run, str(path))

    def log_table(self, run: str, name: str, table: Table) -> None:
        """What `mlflow.log_table` writes, without a data frame and without appending to what an earlier call wrote."""
        self._client.log_text(run, json.dumps(table, ensure_ascii=False), name)
        tags = self._client.get_run(run).data.tags
        tables = [*json.loads(tags.get(LOGGED_TABLES, "[]"))]
        entry = {"path": name, "type": "table"}
        if entry not in tables:
            self._client.set_tag(run, LOGGED_TABLES, json.dumps([*tables, entry]))

    def log_traces(self, run: str, name: str, calls: Sequence[Call]) -> None:
        """Rollouts as finished traces that belong to the run."""
        from mlflow.tracing.client import TracingClient

        if not calls:
            return
        client = TracingClient(self._uri)
        traces = [trace(call, name, self._experiment, run) for call in calls]
        for info, _ in traces:
            client.start_trace(info)
        client.log_spans(self._experiment, [span for _, span in traces])

    def log_publication(self, run: str, recipe: Recipe, made: Publication) -> None:
        """What a stage was made from, as tags, links and dataset inputs, and what it trained as a version of a model.

        May be called again, after it failed half way.
        """
        from mlflow.entities import RunTag

        self._made_in[made.fingerprint] = run
        runs = {name: found for name in made.parents if (found := self._run_of(made.parent(name), recipe))}
        tags = {
            "ponder.fingerprint": made.fingerprint,
            "ponder.parents": json.dumps(dict(made.parents)),
            "ponder.parent_runs": json.dumps(runs),
            "ponder.directory": str(made.directory),
        }
        note = {"mlflow.note.content": self._links(runs)} if runs else {}
        self._client.log_batch(run, tags=[RunTag(name, value) for name, value in {**tags, **note}.items()])
        if made.data:
            self._client.log_inputs(run, datasets=[_dataset_input(data) for data in made.data])
        if made.model is not None:
            self._register(run, model_name(recipe.name, made.name), made.model, {**tags, "ponder.recipe": recipe.name})

    def _run_of(self, directory: Path, recipe: Recipe) -> str | None:
        """The run that made a stage, in this invocation or an earlier one; a stage that no run finished gets one now.

        It was made without the tracker, or its process was killed before the tracker was told. None when it is gone.
        """
        fingerprint = directory.name
        if fingerprint not in self._made_in:
            finished = self._newest(f"tags.`ponder.fingerprint` = '{fingerprint}' and attributes.status = 'FINISHED'")
            if finished is not None:
                self._made_in[fingerprint] = str(finished.info.run_id)
            elif (directory / "result.json").exists():
                self._recover(read_publication(directory), recipe)
        return self._made_in.get(fingerprint)

    def _recover(self, made: Publication, recipe: Recipe) -> None:
        params = {"type": made.type, **made.options, "fingerprint": made.fingerprint}
        run = self.open_stage(made.name, params, recipe.run)
        self.log_metrics(run, metrics_of(made.metrics, self.now))
        self.log_publication(run, recipe, made)
        self.close(run, "FINISHED")

    def _links(self, runs: Mapping[str, str]) -> str:
        links = [f"[{name}](#/experiments/{self._experiment}/runs/{run})" for name, run in runs.items()]
        return f"Made from {', '.join(links)}."

    def _register(self, run: str, name: str, weights: Path, tags: Mapping[str, str]) -> None:
        """A version of the recipe's and stage's model that points to the weights where they are."""
        from mlflow.exceptions import MlflowException

        versions = self._client.search_model_versions(f"name = '{name}'")
        if any(version.tags.get("ponder.fingerprint") == tags["ponder.fingerprint"] for version in versions):
            return
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        # A server refuses to be pointed to files that are not its own.
        source = weights.as_uri() if self._is_database else f"runs:/{run}/{weights.name}"
        self._client.create_model_version(name, source, run_id=run, tags=dict(tags), await_creation_for=0)

    def _newest(self, condition: str) -> Run | None:
        found = self._client.search_runs(
            [self._experiment], condition, max_results=1, order_by=["attributes.start_time DESC"]
        )
        return found[0] if found else None

    def _continue(self, run: Run) -> str:
        times = int(run.data.tags.get("ponder.resumed", "0")) + 1
        self._client.update_run(run.info.run_id, status="RUNNING")
        self._client.set_tag(run.info.run_id, "ponder.resumed", str(times))
        return str(run.info.run_id)

    def _create(self, name: str, params: Mapping[str, object], tags: Mapping[str, str]) -> str:
        from mlflow.entities import Param

        own = {"mlflow.source.name": "ponder", "mlflow.source.type": "LOCAL"}
        start = int(self.now * 1000)
        run = self._client.create_run(
            self._experiment, start_time=start, tags={**own, **tags}, run_name=printable(name)
        )
        values = _values(params)
        if values:
            self._client.log_batch(run.info.run_id, params=[Param(name, value) for name, value in values.items()])
        return str(run.info.run_id)

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

    @property
    def _is_database(self) -> bool:
        return self._uri.startswith(("sqlite:", "postgresql", "mysql", "mssql"))

    @cached_property
    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(self._config.experiment)
        if found is not None:
            return str(found.experiment_id)
        # A database holds no files: they go beside the runs. A server knows its own place.
        location = (self._runs / "mlartifacts").as_uri() if self._is_database else None
        return self._client.create_experiment(self._config.experiment, artifact_location=location)


@contextmanager
def told_to_the_user() -> Iterator[None]:
    """What MLflow raises as a TrackingError, without the tracking URI's password, which its messages repeat."""
    try:
        yield
    except Exception as error:
        message = without_credentials(f"{type(error).__name__}: {error}")
        raise TrackingError(f"MLflow did not take it: {message}") from None


def metrics_of(metrics: Mapping[str, float | None], now: float, step: int | None = None) -> list[Metric]:
    """The finite ones among them; MLflow would store infinity as 1.8e308."""
    from mlflow.entities import Metric

    return [
        Metric(metric_name(name), float(value), int(now * 1000), step or 0)
        for name, value in metrics.items()
        if value is not None and math.isfinite(value)
    ]


def _values(params: Mapping[str, object]) -> dict[str, str]:
    return {metric_name(name): parameter_value(value) for name, value in flatten(params)}


def _dataset_input(data: Data) -> DatasetInput:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = without_credentials(json.dumps(data.source, default=str))[:LONGEST_SOURCE]
    dataset = Dataset(name=data.name, digest=data.digest, source_type="ponder", source=source)
    return DatasetInput(dataset, [InputTag("mlflow.data.context", data.use)])
