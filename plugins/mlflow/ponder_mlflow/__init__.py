"""Tracker `mlflow`: a run per recipe, a nested run per stage, with metrics, tables, traces, lineage, data and models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ponder import Component, Tracker, hookimpl, lazy


@dataclass(frozen=True, kw_only=True)
class MlflowConfig:
    """Track a run with MLflow, in an embedded SQLite database or on a tracking server."""

    uri: str | None = None
    """The tracking URI, such as http://127.0.0.1:5000; None keeps an SQLite database `mlflow.db` beside the runs."""
    experiment: str = "ponder"
    """The experiment that the runs belong to; it is created when missing."""
    traces: int = 20
    """Rollouts of a stage that are kept as traces with their scores, evenly spaced (its tables hold more); 0 keeps none."""

    def __post_init__(self) -> None:
        if not self.experiment.strip():
            raise ValueError("experiment must have a name")
        if self.traces < 0:
            raise ValueError(f"traces must be 0 or more, not {self.traces}")


@hookimpl
def ponder_trackers() -> Iterator[Component[Tracker]]:
    yield Component("mlflow", MlflowConfig, lazy("ponder_mlflow.tracker:MlflowTracker"))
