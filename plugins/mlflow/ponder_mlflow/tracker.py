"""The MLflow tracker: nested runs with their metrics, tables, traces, files and lineage."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ponder_mlflow.lineage import read_publication
from ponder_mlflow.store import MlflowStore, Recipe, metrics_of, told_to_the_user
from ponder_mlflow.tables import evenly_spaced, make_table, read_rows
from ponder_mlflow.traces import Call, calls_among

if TYPE_CHECKING:
    from mlflow.entities import Metric

    from ponder_mlflow import MlflowConfig

LARGEST_BATCH: Final = 1000
"""Metrics that MLflow takes in one call."""
SECONDS_BETWEEN_BATCHES: Final = 2.0
STATUSES: Final = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}


@dataclass(slots=True)
class _OpenRun:
    name: str
    id: str | None = None
    """None when it could not be opened: what belongs to it is left out, and the runs around it stay right."""
    calls: dict[str, list[Call]] = field(default_factory=dict)
    """Rollouts of its tables, by the table's name."""


class MlflowTracker:
    """A run for the recipe, and a nested run for each stage.

    Every `start` must have its `finish`, also one that raised; the other calls may be tried again.
    """

    def __init__(self, config: MlflowConfig, runs: Path) -> None:
        self._store = MlflowStore(config, runs)
        self._traces = config.traces
        self._open: list[_OpenRun] = []
        self._waiting: list[Metric] = []
        self._flushed = time.monotonic()

    def at(self, seconds: float) -> None:
        """What follows happened then."""
        self._store.at(seconds)

    def start(self, name: str, params: Mapping[str, object]) -> None:
        """Open a run, nested in the one that is open, with its parameters flattened to dotted names."""
        self._flush()
        outer = list(self._open)
        run = _OpenRun(name)
        self._open.append(run)
        with told_to_the_user():
            if outer:
                parent = next((around.id for around in reversed(outer) if around.id), None)
                run.id = self._store.open_stage(name, params, parent)
            else:
                run.id = self._store.open_recipe(name, params)

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log the finite ones among the metrics.

        They are gathered and sent every other second: a call costs MLflow the same for one number as for hundreds.
        """
        if self._innermost():
            self._waiting += metrics_of(metrics, self._store.now, step)
        if time.monotonic() - self._flushed >= SECONDS_BETWEEN_BATCHES:
            self._flush()

    def artifact(self, path: Path) -> None:
        """Keep a file; JSON Lines become a table, which MLflow shows and compares between runs."""
        run = self._innermost()
        if run is None:
            return
        self._flush()
        with told_to_the_user():
            rows = read_rows(path) if path.suffix == ".jsonl" else None
            if rows is not None:
                run.calls[path.stem] = calls_among(rows, self._traces)
                self._store.log_table(str(run.id), f"{path.stem}.json", make_table(rows))
            else:
                self._store.log_file(str(run.id), path)

    def published(self, directory: Path) -> None:
        """Link the innermost run to what its stage was made from, and register the model that it trained."""
        run = self._innermost()
        if run is not None:
            recipe = Recipe(self._open[0].name, self._open[0].id)
            with told_to_the_user():
                self._store.log_publication(str(run.id), recipe, read_publication(directory))

    def finish(self, status: str) -> None:
        """Close the innermost run with MLflow's name of the status."""
        try:
            self._flush()
        finally:
            self._waiting.clear()
            run = self._open.pop() if self._open else None
        if run is not None and run.id:
            with told_to_the_user():
                try:
                    self._store.log_traces(run.id, run.name, _spread(run.calls, self._traces))
                finally:
                    self._store.close(run.id, STATUSES.get(status, "FAILED"))

    def _flush(self) -> None:
        """Send what has gathered for the innermost run; what MLflow does not take stays for the next time."""
        run = self._innermost()
        while run is not None and self._waiting:
            with told_to_the_user():
                self._store.log_metrics(str(run.id), self._waiting[:LARGEST_BATCH])
            del self._waiting[:LARGEST_BATCH]
        self._flushed = time.monotonic()

    def _innermost(self) -> _OpenRun | None:
        return self._open[-1] if self._open and self._open[-1].id else None


def _spread(calls: Mapping[str, list[Call]], most: int) -> list[Call]:
    """As many from each table, so that there are not too many in all."""
    tables = [table for table in calls.values() if table]
    return [call for table in tables for call in evenly_spaced(table, most // len(tables))]
