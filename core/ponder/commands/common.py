"""Options and output that several verbs share."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ponder.context import FinishedStage
    from ponder.plugins import Registry
    from ponder.recipe import Recipe


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """The recipe, its overrides, and plain plugin files."""
    parser.add_argument("recipe", metavar="RECIPE", type=Path, help="a YAML file")
    overrides_help = "put a value over the recipe's, such as stages.reason.group_size=8"
    parser.add_argument("overrides", metavar="KEY=VALUE", nargs="*", default=[], help=overrides_help)
    add_plugin(parser)


def add_plugin(parser: argparse.ArgumentParser, default: Any = None) -> None:
    """`--plugin FILE`, as often as wanted."""
    text = "a Python file with hook implementations, used as a plugin; may be given several times"
    parser.add_argument("--plugin", metavar="FILE", action="append", type=Path, default=default or [], help=text)


def add_runs(parser: argparse.ArgumentParser) -> None:
    """`--runs DIR`."""
    parser.add_argument(
        "--runs", metavar="DIR", type=Path, default=Path("runs"), help="root of the runs (default: runs)"
    )


def add_json(parser: argparse.ArgumentParser, default: Any = False) -> None:
    """`--json`."""
    parser.add_argument("--json", action="store_true", default=default, help="print JSON, for scripts")


def registry_from(arguments: argparse.Namespace) -> Registry:
    """What is installed, and the files given with `--plugin`."""
    from ponder.plugins import load_registry

    return load_registry(arguments.plugin)


def recipe_from(arguments: argparse.Namespace, registry: Registry | None = None) -> Recipe:
    """The recipe that `add_recipe`'s arguments name; InputError with every problem it has."""
    from ponder.recipe import load_recipe

    return load_recipe(
        arguments.recipe, arguments.overrides, registry_from(arguments) if registry is None else registry
    )


def finished_stages(recipe: Recipe, registry: Registry, runs: Path) -> dict[str, FinishedStage]:
    """The stages of the recipe that are in the store as it stands now, by name."""
    from ponder.planning import plan_recipe
    from ponder.store import Store, read_stage

    store = Store(runs)
    cached = [stage for stage in plan_recipe(recipe, registry, store) if stage.is_cached]
    return {stage.entry.name: read_stage(store.published(stage.identity.fingerprint)) for stage in cached}


def positive(kind: Callable[[str], float], most: float = math.inf) -> Callable[[str], float]:
    """An argument's type: a finite number above 0, and at most `most`."""

    def number(text: str) -> float:
        value = kind(text)
        if not 0 < value <= most or not math.isfinite(value):
            raise ValueError(text)
        return value

    number.__name__ = "number above 0" if most == math.inf else f"number above 0 and up to {most:g}"
    return number


def write(text: str) -> None:
    """Print a text and a line end to stdout."""
    sys.stdout.write(text + "\n")


def write_json(value: Any) -> None:
    """Print plain data as JSON to stdout."""
    write(json.dumps(value, indent=2, ensure_ascii=False))
