"""`ponder plugins`: what is installed, and the options of each component."""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import textwrap
from typing import TYPE_CHECKING, Any

from ponder.commands import common

if TYPE_CHECKING:
    from ponder.plugins import Offer, Registry

KINDS = ("policy", "task", "reward", "sampler", "loss", "stage", "tracker")


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "plugins",
        help="list what is installed, or show a component's options",
        description="List the installed components; `show KIND NAME` gives a component's options; `docs` writes the reference.",
    )
    common.add_plugin(parser)
    common.add_json(parser)
    parser.set_defaults(command=command, action=None)
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    listed = actions.add_parser("list", help="the installed components, broken plugins last (the default)")
    show = actions.add_parser("show", help="a component's options: types, defaults, texts")
    show.add_argument("kind", metavar="KIND", choices=KINDS, help=f"one of {', '.join(KINDS)}")
    show.add_argument("name", metavar="NAME", help="the component's name")
    docs = actions.add_parser("docs", help="Markdown of every component and hook, to stdout")
    for action, function in ((listed, _list), (show, _show), (docs, _docs)):
        # With a default of its own, an action would undo what was given before its name.
        common.add_plugin(action, argparse.SUPPRESS)
        common.add_json(action, argparse.SUPPRESS)
        action.set_defaults(action=function)


def command(arguments: argparse.Namespace) -> int:
    """Do the action asked for; list when none is."""
    registry = common.registry_from(arguments)
    (arguments.action or _list)(arguments, registry)
    return 0


def _list(arguments: argparse.Namespace, registry: Registry) -> None:
    from ponder.describe import first_line
    from ponder.plugins import error_line

    broken = {name: error_line(error) for name, error in registry.broken.items()}
    rows = [
        (offer.kind, offer.component.name, offer.distribution, offer.version, first_line(offer.component.config))
        for offer in registry.all()
    ]
    if arguments.json:
        keys = ("kind", "name", "distribution", "version", "text")
        components = [dict(zip(keys, row, strict=True)) for row in rows]
        common.write_json({"components": components, "broken": broken})
        return
    common.write(_table([("kind", "name", "distribution", "version", ""), *rows]))
    for name, error in broken.items():
        common.write(f"broken: {name}: {error}")


def _show(arguments: argparse.Namespace, registry: Registry) -> None:
    from ponder.describe import options

    offer = registry.offer(arguments.kind, arguments.name)
    if arguments.json:
        rows = [dataclasses.asdict(option) for option in options(offer.component.config)]
        common.write_json({"kind": offer.kind, "name": offer.component.name, **_origin(offer), "options": rows})
        return
    common.write("\n".join(_shown(offer)))


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


def _docs(_: argparse.Namespace, registry: Registry) -> None:
    from ponder.describe import components_page

    common.write(components_page(registry).rstrip("\n"))


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
