"""A run, once it is done, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.table import Table

from ponder.progress import describe_numbers, headline
from ponder.run import RunOutcome

if TYPE_CHECKING:
    from ponder.progress import Display

_METRICS_SHOWN = 8


def show_outcome(outcome: RunOutcome, display: Display) -> None:
    """A table of stages and metrics, and the path of the report."""
    table = Table("stage", "type", "", "metrics")
    for stage in outcome.stages:
        how = "done before" if stage.name in outcome.cached else "done"
        table.add_row(stage.name, stage.type, how, _describe(stage.result.metrics))
    display.console.print(table)
    if outcome.report is not None:
        display.say(f"report: {outcome.report}")


def outcome_as_json(outcome: RunOutcome) -> dict[str, object]:
    """What `ponder run --json` prints."""
    stages = {
        stage.name: {
            "type": stage.type,
            "cached": stage.name in outcome.cached,
            "directory": stage.directory,
            "fingerprint": stage.fingerprint,
            "metrics": stage.result.metrics,
        }
        for stage in outcome.stages
    }
    return {"stages": stages, "report": outcome.report}


def _describe(metrics: Mapping[str, float]) -> str:
    shown = headline(metrics, _METRICS_SHOWN)
    more = len(metrics) - len(shown)
    return describe_numbers(shown) + (f", and {more} more in result.json" if more else "")
