"""`ponder plugins`: what is installed, the options of each component, and whether a plugin keeps its promises."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import sys
import textwrap
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ponder.commands import common

if TYPE_CHECKING:
    from ponder.plugins import Offer, Registry

KINDS = ("policy", "task", "reward", "sampler", "loss", "stage", "tracker")


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "plugins",
        help="list, show or check what is installed",
        description="List the installed components; `show KIND NAME` gives a component's options and an example; "
        "`check DISTRIBUTION` tests a plugin; `docs` writes the reference.",
    )
    common.add_plugin(parser)
    common.add_json(parser)
    parser.set_defaults(command=command, action=None)
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    listed = actions.add_parser("list", help="the installed components, broken plugins last (the default)")
    show = actions.add_parser("show", help="a component's options: types, defaults, texts, and an example")
    show.add_argument("kind", metavar="KIND", choices=KINDS, help=f"one of {', '.join(KINDS)}")
    show.add_argument("name", metavar="NAME", help="the component's name")
    check = actions.add_parser(
        "check",
        help="run the suites of ponder.testing on an installed plugin",
        description="Run the suites of ponder.testing on all components of an installed distribution (or of a file given with "
        "--plugin, by the file's name). Options are the defaults, or those of the class variable `example`. Exit code 1 when a "
        "check fails.",
    )
    check.add_argument("distribution", metavar="DISTRIBUTION", help="such as brevity-reward; see `ponder plugins`")
    check.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=common.positive(float),
        default=300.0,
        help="what one check may take (default: 300)",
    )
    docs = actions.add_parser("docs", help="write a page of Markdown for every component and hook")
    docs.add_argument("directory", metavar="DIRECTORY", type=Path, help="where to; pages of what is gone are removed")
    docs.add_argument(
        "--check", action="store_true", help="write nothing; name the pages that are stale, exit code 1 if any"
    )
    for action, function in ((listed, _list), (show, _show), (check, _check), (docs, _docs)):
        # With a default of its own, an action would undo what was given before its name.
        common.add_plugin(action, argparse.SUPPRESS)
        common.add_json(action, argparse.SUPPRESS)
        action.set_defaults(action=function)


def command(arguments: argparse.Namespace) -> int:
    """Do the action asked for; list when none is."""
    registry = common.registry_from(arguments)
    return int((arguments.action or _list)(arguments, registry) or 0)


def _list(arguments: argparse.Namespace, registry: Registry) -> None:
    from ponder.describe import first_line

    rows = [
        (offer.kind, offer.component.name, offer.distribution, offer.version, first_line(offer.component.config))
        for offer in registry.all()
    ]
    broken = {name: _error_text(error) for name, error in registry.broken.items()}
    if arguments.json:
        keys = ("kind", "name", "distribution", "version", "text")
        components = [dict(zip(keys, row, strict=True)) for row in rows]
        left_out = {"left_out": registry.left_out, "not_installed": registry.not_installed}
        common.write_json({"components": components, "broken": broken, "conflicts": registry.conflicts(), **left_out})
        return
    common.write(_table([("kind", "name", "distribution", "version", ""), *rows]))
    for name in registry.left_out:
        common.write(f"left out: {name}")
    for text in registry.not_installed:
        common.write(f"not left out: {text}")
    for text in registry.conflicts():
        common.write(f"conflict: {text}")
    for name, error in registry.broken.items():
        common.write(f"{_trouble(error)}: {name}: {broken[name]}")
        if os.environ.get("PONDER_TRACEBACK"):
            sys.stderr.write("".join(traceback.format_exception(error)))


def _trouble(error: BaseException) -> str:
    from ponder.plugins import IncompatiblePluginError

    return "incompatible" if isinstance(error, IncompatiblePluginError) else "broken"


def _error_text(error: BaseException) -> str:
    from ponder.plugins import IncompatiblePluginError, error_line, error_place

    if isinstance(error, IncompatiblePluginError):
        return str(error)
    place = error_place(error)
    return f"{error_line(error)}{f' ({place})' if place else ''}"


def _show(arguments: argparse.Namespace, registry: Registry) -> None:
    from ponder.describe import options
    from ponder.example import example_recipe

    offer = registry.offer(arguments.kind, arguments.name)
    example = example_recipe(registry, offer.kind, offer.component.name)
    if arguments.json:
        rows = [dataclasses.asdict(option) for option in options(offer.component.config)]
        told = {"kind": offer.kind, "name": offer.component.name, **_origin(offer), "options": rows}
        common.write_json({**told, "example": example.text, "example_files": list(example.files)})
        return
    common.write("\n".join(_shown(offer)))
    files = f" (with {', '.join(example.files)} beside it)" if example.files else ""
    common.write(f"\nexample, a whole recipe{files}:\n\n{textwrap.indent(example.text, '    ')}")


def _shown(offer: Offer) -> list[str]:
    from ponder.describe import REQUIRED, options

    width = max(40, min(shutil.get_terminal_size((100, 24)).columns, 120))
    documented = (offer.component.config.__doc__ or "").strip()
    lines = [f"{offer.kind} {offer.component.name} (from {offer.distribution} {offer.version})", documented]
    for option in options(offer.component.config):
        default = REQUIRED if option.default == REQUIRED else f"default {option.default}"
        lines += ["", f"  {option.name}: {option.type} ({default})"]
        lines += textwrap.wrap(option.text, width, initial_indent="      ", subsequent_indent="      ")
    return lines


def _origin(offer: Offer) -> dict[str, str]:
    return {"distribution": offer.distribution, "version": offer.version, "config": offer.component.config.__qualname__}


def _check(arguments: argparse.Namespace, registry: Registry) -> int:
    from ponder.conformance import check_distribution

    show = None if arguments.json else common.write
    report = check_distribution(registry, arguments.distribution, show, arguments.timeout)
    if arguments.json:
        common.write_json(report.as_json())
    else:
        common.write(report.summary())
    return 0 if report.is_sound else 1


def _docs(arguments: argparse.Namespace, registry: Registry) -> int:
    from ponder.reference import stale_pages, write_pages

    directory: Path = arguments.directory
    if arguments.check:
        stale = stale_pages(registry, directory)
        for name in stale:
            common.write(f"stale: {directory / name}")
        return 1 if stale else 0
    count, removed = write_pages(registry, directory)
    common.write(f"{count} pages in {directory}" + (f", {removed} removed" if removed else ""))
    return 0


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
