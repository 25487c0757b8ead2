"""`ponder run`: run what is missing of a recipe."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from typing import Any

from ponder.commands import common


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "run",
        help="run a recipe: only what is missing, from where it was interrupted",
        description="Run what is missing of a recipe's stages. The same command continues an interrupted run.",
    )
    common.add_recipe(parser)
    common.add_runs(parser)
    common.add_json(parser)
    parser.add_argument("--until", metavar="STAGE", help="stop after this stage")
    parser.add_argument(
        "--jobs",
        metavar="N",
        type=common.positive(int),
        default=1,
        help="make up to N stages at the same time, each in a process of its own, where they do not need each other (default: 1)",
    )
    parser.set_defaults(command=command)


def command(arguments: Namespace) -> int:
    """Run, and end with a table of stages and metrics and the path of the report."""
    from ponder.durable import to_json
    from ponder.progress import Display
    from ponder.run import run_recipe
    from ponder.summary import outcome_as_json, show_outcome

    registry = common.registry_from(arguments)
    recipe = common.recipe_from(arguments, registry)
    display = Display(sys.stderr if arguments.json else sys.stdout)
    outcome = run_recipe(recipe, registry, arguments.runs, display, until=arguments.until, jobs=arguments.jobs)
    if arguments.json:
        common.write(to_json(outcome_as_json(outcome), indent=2))
    else:
        show_outcome(outcome, display)
    if not outcome.tracker_ended:
        # What hangs in the tracker's thread may also hang in what its library does at exit.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return 0
