"""`ponder chat`: ask a policy, and watch it answer."""

from __future__ import annotations

import dataclasses
import sys
from argparse import Namespace
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ponder.commands import common

if TYPE_CHECKING:
    from ponder.conversation import Conversation
    from ponder.interfaces import Policy, Sampler
    from ponder.plugins import Registry

_SAMPLERS = ("fast", "generate")
"""The first that is installed is used."""
_DEFAULTS = {"temperature": 0.6, "top_p": 0.95, "max_new_tokens": 512}


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "chat",
        help="ask a policy",
        description=(
            "Ask a policy, a question a line, and watch it answer: its thinking is dimmed, its answer stands below. On a terminal it "
            "remembers what was said; /new forgets it, Ctrl-C stops an answer, Ctrl-D ends. Piped lines are each asked alone."
        ),
    )
    text = "the directory of a finished stage, such as runs/r1/reason, or RECIPE:NAME, a stage or policy of a recipe"
    parser.add_argument("policy", metavar="POLICY", help=text)
    parser.add_argument(
        "options", metavar="KEY=VALUE", nargs="*", default=[], help="the sampler's, such as temperature=1"
    )
    parser.add_argument("--once", metavar="QUESTION", help="ask this and end")
    parser.add_argument("--sampler", metavar="TYPE", help="how to sample (default: fast, or else generate)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other answers (default: 0)")
    common.add_runs(parser)
    common.add_plugin(parser)
    parser.set_defaults(command=command)


def command(arguments: Namespace) -> int:
    """Load the policy, then answer until the questions end."""
    from ponder.conversation import Conversation
    from ponder.progress import Display

    registry = common.registry_from(arguments)
    sampler = _sampler(arguments, registry)
    policy = _policy(arguments, registry)
    is_typed = arguments.once is None and sys.stdin.isatty()
    conversation = Conversation(policy, sampler, arguments.seed, Display(), remembers=is_typed)
    if is_typed:
        _talk(conversation)
    else:
        for question in sys.stdin if arguments.once is None else [arguments.once]:
            if question.strip():
                conversation.ask(question.strip())
    return 0


def _talk(conversation: Conversation) -> None:
    """Questions from a terminal until Ctrl-D; Ctrl-C stops the answer, and a question that cannot be asked ends nothing."""
    from ponder.errors import InputError

    with suppress(ImportError):
        import readline  # noqa: F401  arrow keys and a history for `input`
    while (question := _typed()) is not None:
        try:
            if question == "/new":
                conversation.forget()
            elif question:
                conversation.ask(question)
        except KeyboardInterrupt:
            sys.stdout.write("(stopped)\n")
        except InputError as error:
            sys.stdout.write(f"{error}\n")


def _typed() -> str | None:
    """The next line; empty after Ctrl-C, None after Ctrl-D."""
    try:
        return input("> ").strip()
    except KeyboardInterrupt:
        sys.stdout.write("\n")
        return ""
    except EOFError:
        sys.stdout.write("\n")
        return None


def _policy(arguments: Namespace, registry: Registry) -> Policy:
    from ponder.building import build_policy, load_policy
    from ponder.errors import InputError
    from ponder.recipe import load_recipe

    directory = Path(arguments.policy)
    if not directory.is_dir():
        path, colon, name = arguments.policy.rpartition(":")
        if not colon:
            raise InputError(
                f"{directory}: no such directory; give a finished stage's, such as runs/r1/reason, or RECIPE:NAME"
            )
        recipe = load_recipe(path, (), registry)
        if name in recipe.policies:
            return build_policy(recipe, registry, {}, name)
        directory = arguments.runs / recipe.name / name
    if not (directory / "result.json").exists():
        raise InputError(f"{directory}: no finished stage is here; `ponder run` its recipe first")
    return load_policy(registry, directory.resolve())


def _sampler(arguments: Namespace, registry: Registry) -> Sampler:
    from ponder.building import make_config
    from ponder.merge import overridden
    from ponder.problems import Place, Problems
    from ponder.yaml_reader import Node

    installed = registry.names("sampler")
    chosen = arguments.sampler or next((name for name in _SAMPLERS if name in installed), _SAMPLERS[0])
    component = registry.find("sampler", chosen)
    problems = Problems()
    given = overridden(Node({}, Place("", 0, Path())), arguments.options, problems).plain()
    problems.raise_any("the sampler")
    known = {field.name for field in dataclasses.fields(component.config)}
    defaults = {name: value for name, value in _DEFAULTS.items() if name in known}
    sampler: Sampler = component.make(make_config(component, {**defaults, **given}, Path("sampler")))
    return sampler
