"""`ponder chat`: ask a policy."""

from __future__ import annotations

import dataclasses
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ponder.commands import common

if TYPE_CHECKING:
    from ponder.interfaces import Policy, Sampler
    from ponder.plugins import Registry
    from ponder.progress import Display

_SAMPLERS = ("fast", "generate")
"""The first that is installed is used."""
_DEFAULTS = {"temperature": 0.6, "top_p": 0.95, "max_new_tokens": 512}


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "chat",
        help="ask a policy",
        description="Ask a policy, a question a line; its thoughts are dimmed, its answer stands below. Ctrl-D ends.",
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
    from ponder.progress import Display

    registry = common.registry_from(arguments)
    sampler = _sampler(arguments, registry)
    policy = _policy(arguments, registry)
    questions = [arguments.once] if arguments.once is not None else _typed()
    _converse(policy, sampler, questions, arguments.seed, Display())
    return 0


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


def _typed() -> Iterator[str]:
    """Lines of standard input, asked for on a terminal."""
    while True:
        if sys.stdin.isatty():
            sys.stdout.write("> ")
            sys.stdout.flush()
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def _converse(policy: Policy, sampler: Sampler, questions: Iterable[str], seed: int, display: Display) -> None:
    from rich.text import Text

    from ponder.progress import printable
    from ponder.randomness import derive_seed
    from ponder.text import split_response

    for number, question in enumerate(questions):
        example = _example(policy, question)
        completion = sampler.sample(policy, [example], 1, derive_seed(seed, "chat", number))[0][0]
        response = split_response(completion.text)
        if response.reasoning:
            display.console.print(Text(printable(response.reasoning), style="dim"), soft_wrap=True)
        cut = " (cut off at max_new_tokens)" if completion.finish_reason == "length" else ""
        display.console.print(Text(printable(response.answer or completion.text.strip()) + cut), soft_wrap=True)


def _example(policy: Policy, question: str) -> Any:
    """A chat message where the policy has a chat template; the R1-Zero prompt where it has none."""
    from ponder.text import R1_ZERO_TEMPLATE
    from ponder.types import Example

    if getattr(policy.tokenizer, "chat_template", None):
        return Example(prompt=[{"role": "user", "content": question}])
    return Example(prompt=R1_ZERO_TEMPLATE.replace("{prompt}", question))
