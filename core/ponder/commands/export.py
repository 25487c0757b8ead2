"""`ponder export`: a policy of a run as a directory that others load."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ponder.commands import common

if TYPE_CHECKING:
    from ponder.plugins import Registry


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "export",
        help="a policy for transformers, vLLM and others",
        description=(
            "Write a policy as a directory that transformers and vLLM load: weights in safetensors, adapters merged, the tokenizer with "
            "its chat template, the paper's sampling defaults, and a model card from the run's lineage. Or the same as a GGUF file, "
            "beside its card, for llama.cpp."
        ),
    )
    parser.add_argument(
        "policy",
        metavar="POLICY",
        help="the directory of a finished stage, such as runs/r1/reason, or RECIPE:NAME, a stage of a recipe",
    )
    parser.add_argument("directory", metavar="DIRECTORY", type=Path, help="where to write")
    parser.add_argument(
        "--format",
        choices=("transformers", "gguf"),
        default="transformers",
        help="gguf writes one file for llama.cpp, of Llama and Qwen 2 and 3 with their own tokenizers (default: transformers)",
    )
    parser.add_argument("--force", action="store_true", help="replace DIRECTORY if it is an earlier export")
    parser.add_argument(
        "--chat-template",
        metavar="NAME",
        help="one that the policy offers, such as r1, whose prompts end with an opened <think> (default: that of its training)",
    )
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), help="precision of the weights (default: as trained)"
    )
    common.add_runs(parser)
    common.add_plugin(parser)
    parser.set_defaults(command=command)


def command(arguments: Namespace) -> int:
    """Write the directory whole, or nothing."""
    from ponder.exporting import export

    registry = common.registry_from(arguments)
    exported = export(
        registry,
        _stage(arguments, registry),
        arguments.directory,
        arguments.chat_template,
        arguments.dtype,
        format=arguments.format,
        replaces=arguments.force,
    )
    common.write(f"{exported.directory}: {exported.summary}")
    return 0


def _stage(arguments: Namespace, registry: Registry) -> Path:
    from ponder.errors import InputError
    from ponder.recipe import load_recipe

    directory = Path(arguments.policy)
    path, colon, name = arguments.policy.rpartition(":")
    if colon and not directory.is_dir():
        directory = arguments.runs / load_recipe(path, (), registry).name / name
    if not (directory / "result.json").exists():
        raise InputError(
            f"{directory}: no finished stage is here; give its directory, such as runs/r1/reason, or RECIPE:NAME after `ponder run`"
        )
    return directory
