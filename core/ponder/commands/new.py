"""`ponder new`: a package to start from, with tests that pass as written."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from ponder.commands import common
from ponder.commands.plugins import KINDS


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "new",
        help="write an installable plugin to start from, with its tests",
        description="Write a folder with a small plugin that works: pyproject.toml, README.md, the component and its tests.",
    )
    parser.add_argument("kind", metavar="KIND", choices=KINDS, help=f"one of {', '.join(KINDS)}")
    parser.add_argument("name", metavar="NAME", help="what it will be called in recipes, such as politeness")
    parser.add_argument(
        "--into", metavar="DIR", type=Path, default=Path(), help="where the folder is made (default: here)"
    )
    parser.set_defaults(command=command)


def command(arguments: argparse.Namespace) -> int:
    """Write the package and say what to do next."""
    from ponder.plugins import load_registry
    from ponder.scaffold import write_package

    package = write_package(load_registry(), arguments.kind, arguments.name, arguments.into)
    folder = re.sub(r"^\./", "", str(package.folder))
    common.write(
        f"{folder}: a {arguments.kind} named '{arguments.name}', in {', '.join(package.files)}\n\n"
        "next:\n"
        f"  pip install -e {folder}\n"
        f"  pytest {folder}\n"
        f"  ponder plugins show {arguments.kind} {arguments.name}\n"
        f"  ponder plugins check {package.distribution}\n"
        f"then change {package.module}, and its tests with it"
    )
    return 0
