"""`ponder plan`: what a run would do, without doing it."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from ponder.commands import common

if TYPE_CHECKING:
    from ponder.planning import PlannedStage


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "plan",
        help="show which stages are done and which are to run, and why",
        description="Show which stages of a recipe are done, which are to run, and why. No weights are loaded.",
    )
    common.add_recipe(parser)
    common.add_runs(parser)
    common.add_json(parser)
    parser.set_defaults(command=command)


def command(arguments: Namespace) -> int:
    """Print the table of stages, or the same as JSON."""
    from ponder.durable import to_json
    from ponder.planning import plan_recipe
    from ponder.store import Store

    registry = common.registry_from(arguments)
    recipe = common.recipe_from(arguments, registry)
    stages = plan_recipe(recipe, registry, Store(arguments.runs))
    if arguments.json:
        common.write(to_json({"stages": [_as_json(stage) for stage in stages]}, indent=2))
    else:
        _show(stages)
    return 0


def _show(stages: list[PlannedStage]) -> None:
    from rich.table import Table

    from ponder.progress import Display

    table = Table("stage", "type", "policy", "", "why, and what")
    for stage in stages:
        state = "done" if stage.is_cached else "to run"
        text = "; ".join(filter(None, (stage.reason, stage.sentence)))
        table.add_row(stage.entry.name, stage.entry.type, stage.policy or "", state, text)
    Display().console.print(table)


def _as_json(stage: PlannedStage) -> dict[str, object]:
    return {
        "stage": stage.entry.name,
        "type": stage.entry.type,
        "policy": stage.policy,
        "cached": stage.is_cached,
        "reason": stage.reason,
        "plan": stage.sentence,
        "fingerprint": stage.identity.fingerprint,
    }
