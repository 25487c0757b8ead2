"""`ponder export`: a policy of a run as a directory that others load."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from ponder.commands import common


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "export",
        help="a policy for transformers, vLLM and others",
        description=(
            "Write a policy as a directory that transformers and vLLM load: weights in safetensors, adapters merged, the tokenizer with "
            "its chat template, the paper's sampling defaults, and a model card from the run's lineage."
        ),
    )
    parser.add_argument(
        "policy", metavar="POLICY", type=Path, help="the directory of a finished stage, such as runs/r1/reason"
    )
    parser.add_argument("directory", metavar="DIRECTORY", type=Path, help="where to write; must not exist yet")
    parser.add_argument(
        "--chat-template",
        metavar="NAME",
        help="one that the policy offers, such as r1, whose prompts end with an opened <think> (default: that of its training)",
    )
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), help="precision of the weights (default: as trained)"
    )
    common.add_plugin(parser)
    parser.set_defaults(command=command)


def command(arguments: Namespace) -> int:
    """Write the directory whole, or nothing."""
    from ponder.errors import InputError
    from ponder.exporting import export

    stage: Path = arguments.policy
    if not (stage / "result.json").exists():
        raise InputError(f"{stage}: no finished stage is here; give its directory, such as runs/r1/reason")
    registry = common.registry_from(arguments)
    exported = export(registry, stage, arguments.directory, arguments.chat_template, arguments.dtype)
    common.write(f"{exported.directory}: {exported.summary}")
    return 0
