"""`ponder validate`: every problem of a recipe at once."""

from __future__ import annotations

import argparse
from typing import Any

from ponder.commands import common
from ponder.problems import RecipeError


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "validate",
        help="check a recipe and show every problem at once",
        description="Check a recipe: sections, names, references, options and input files. Exit code 2 when something is wrong.",
    )
    common.add_recipe(parser)
    common.add_json(parser)
    parser.set_defaults(command=command)


def command(arguments: argparse.Namespace) -> int:
    """Say that the recipe is valid, or raise InputError with its problems; as JSON, print them."""
    try:
        recipe = common.recipe_from(arguments)
    except RecipeError as error:
        if not arguments.json:
            raise
        common.write_json({"valid": False, "problems": list(error.problems)})
        return error.exit_code
    stages = list(recipe.stages)
    if arguments.json:
        common.write_json({"valid": True, "name": recipe.name, "stages": stages})
    else:
        count = f"{len(stages)} stage{'s' if len(stages) != 1 else ''}"
        common.write(f"{recipe.path}: recipe '{recipe.name}' is valid: {count} ({', '.join(stages)})")
    return 0
