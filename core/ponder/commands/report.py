"""`ponder report`: where a run's page is, made first if need be."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ponder.commands import common

if TYPE_CHECKING:
    from ponder.context import FinishedStage
    from ponder.plugins import Registry


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "report",
        help="an HTML page of a run",
        description="Print the path of a run's report; without a stage `report` in the run, make one of what is finished.",
    )
    text = "a run's directory, such as runs/r1, or its recipe"
    parser.add_argument("run", metavar="RUN", type=Path, help=text)
    common.add_runs(parser)
    common.add_plugin(parser)
    parser.set_defaults(command=command)


def command(arguments: Namespace) -> int:
    """Print the path of the page."""
    from ponder.store import stages_in

    registry = common.registry_from(arguments)
    directory = _run_directory(arguments, registry)
    stages = stages_in(directory)
    pages = [stage.directory / "report.html" for stage in stages if stage.type == "report"]
    common.write(str(pages[-1] if pages else _make(directory, stages, registry)))
    return 0


def _run_directory(arguments: Namespace, registry: Registry) -> Path:
    from ponder.errors import InputError
    from ponder.recipe import load_recipe

    given: Path = arguments.run
    directory = given if given.is_dir() else arguments.runs / load_recipe(given, (), registry).name
    if not directory.is_dir():
        raise InputError(f"{directory}: no such run; `ponder run {given}` makes it")
    return directory.absolute()


def _make(directory: Path, stages: list[FinishedStage], registry: Registry) -> Path:
    """Run the installed stage `report` beside the run, and keep its page."""
    from ponder.context import StageContext, Surroundings
    from ponder.errors import InputError
    from ponder.progress import Display
    from ponder.recipe import Entry, Recipe
    from ponder.signals import StopSignals
    from ponder.store import Workspace
    from ponder.tracking import NullTracker

    if not stages:
        raise InputError(f"{directory}: no stage is finished yet; `ponder run` its recipe first")
    component = registry.find("stage", "report")
    config = component.config(stages=[stage.name for stage in stages])
    entry = Entry("stage", "report", "report", component, config, {})
    recipe = Recipe(directory.name, 0, directory, None, {}, {}, {}, {}, {}, {"report": entry})
    run = Surroundings(recipe, registry, NullTracker(), Display(sys.stderr), StopSignals())
    page = directory / "report.html"
    with Workspace(directory / ".work-report", directory) as workspace:
        with StageContext(entry, run, workspace, {stage.name: stage for stage in stages}) as context:
            component.make(config).run(context)
        (context.directory / "report.html").replace(page)
        workspace.remove()
    return page
