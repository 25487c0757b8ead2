"""`ponder schema`: the JSON schema of recipes."""

from __future__ import annotations

import argparse
from typing import Any

from ponder.commands import common


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "schema",
        help="print a JSON schema of recipes, for editors",
        description=(
            "Print a JSON schema of recipes with all installed components: `ponder schema > recipe.schema.json`, and in a recipe "
            "`# yaml-language-server: $schema=recipe.schema.json`. Editors then complete and explain every option."
        ),
    )
    common.add_plugin(parser)
    parser.set_defaults(command=command)


def command(arguments: argparse.Namespace) -> int:
    """Print it."""
    from ponder.schema import recipe_schema

    common.write_json(recipe_schema(common.registry_from(arguments)))
    return 0
