"""Tracker `mlflow`: a run per recipe, a nested run per stage, with parameters, metrics, tables and figures."""

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

    def __post_init__(self) -> None:
        if not self.experiment.strip():
            raise ValueError("experiment must have a name")


@hookimpl
def ponder_trackers() -> Iterator[Component[Tracker]]:
    yield Component("mlflow", MlflowConfig, lazy("ponder_mlflow.tracker:MlflowTracker"))
