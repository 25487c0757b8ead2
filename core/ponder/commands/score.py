"""`ponder score`: saved rollouts under other rewards."""

from __future__ import annotations

import sys
from argparse import Namespace
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ponder.commands import common

if TYPE_CHECKING:
    from ponder.lab.saved import Saved
    from ponder.lab.study import Scores, Study
    from ponder.plugins import Registry
    from ponder.progress import Display
    from ponder.rubric import Rubric

_BATCH = 512


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "score",
        help="score saved rollouts anew: what flips, what correlates, what looks hacked",
        description=(
            "Score saved rollouts with other rewards, and show how the scores are spread, what they go with, which advantages change "
            "sign, and which responses look as if they had been written for the reward."
        ),
    )
    what = "a recipe (all its rewards), RECIPE:name,name (some of them), or names of installed rewards"
    text = "a file of rollouts, or the directory of a stage that kept some, such as runs/r1/reason"
    parser.add_argument("rollouts", metavar="ROLLOUTS", type=Path, help=text)
    parser.add_argument("--rewards", metavar="WHAT", required=True, help=what)
    parser.add_argument(
        "--against", metavar="WHAT", help="compare with these instead of with the scores that were kept"
    )
    parser.add_argument("--most", metavar="N", type=int, help="read at most so many rollouts")
    parser.add_argument("--html", metavar="FILE", type=Path, help="write a page")
    common.add_runs(parser)
    common.add_plugin(parser)
    common.add_json(parser)
    parser.set_defaults(command=command)


def command(arguments: Namespace) -> int:
    """Score, study, and show."""
    from ponder.lab.saved import read_saved
    from ponder.lab.study import TOTAL, study
    from ponder.progress import Display

    registry, display = common.registry_from(arguments), Display(sys.stderr)
    saved = read_saved(arguments.rollouts, arguments.most)
    scores = _scored(arguments.rewards, saved, registry, arguments.runs, display)
    if arguments.against:
        before = _scored(arguments.against, saved, registry, arguments.runs, display)[TOTAL]
    else:
        before = [row.total for row in saved]
    found = study(saved, scores, before if any(total is not None for total in before) else None)
    if arguments.html:
        _write_page(arguments, found)
    if arguments.json:
        common.write_json(asdict(found))
    else:
        from ponder.lab.tables import show_study

        show_study(found, Display())
    return 0


def _scored(what: str, saved: list[Saved], registry: Registry, runs: Path, display: Display) -> Scores:
    from ponder.lab.study import TOTAL

    with ExitStack() as resources:
        rubric = resources.enter_context(_rubric(what, registry, runs, display))
        bar = resources.enter_context(display.bar(f"scoring with {what}", len(saved)))
        scores = []
        for start in range(0, len(saved), _BATCH):
            scores += rubric.score([row.rollout for row in saved[start : start + _BATCH]])
            bar.advance(len(scores))
    parts = {name: [score.parts[name] for score in scores] for name in rubric.names}
    return {**parts, TOTAL: [score.total for score in scores]}


def _rubric(what: str, registry: Registry, runs: Path, display: Display) -> Rubric:
    from ponder.building import build_rubric
    from ponder.errors import InputError
    from ponder.recipe import load_recipe
    from ponder.suggestions import did_you_mean

    path, _, listed = what.partition(":")
    if not path.endswith((".yaml", ".yml")):
        return _installed(what.split(","), registry, display)
    recipe = load_recipe(path, (), registry)
    names = listed.split(",") if listed else list(recipe.rewards)
    for name in names:
        if name not in recipe.rewards:
            raise InputError(f"{path} has no reward {name!r}; {did_you_mean(name, recipe.rewards)}")
    if not names:
        raise InputError(f"{path} has no rewards; name some that are installed, such as accuracy,format")
    return build_rubric(recipe, common.finished_stages(recipe, registry, runs), names, display.say)


def _installed(names: list[str], registry: Registry, display: Display) -> Rubric:
    from ponder.building import make_config
    from ponder.rubric import NamedReward, Rubric

    rewards = []
    for name in (given.strip() for given in names):
        component = registry.find("reward", name)
        config = make_config(component, {}, Path("--rewards"))
        rewards.append(NamedReward(name, config.weight, component.make(config), config))
    return Rubric(rewards, plugin_files=registry.plugin_files, say=display.say)


def _write_page(arguments: Namespace, found: Study) -> None:
    from ponder.errors import InputError
    from ponder.lab.page import page

    file: Path = arguments.html
    try:
        file.write_text(page(found, f"{arguments.rewards} on {arguments.rollouts}"), encoding="utf-8")
    except OSError as error:
        raise InputError(f"--html {file} cannot be written: {error.strerror}") from error
    sys.stderr.write(f"page: {file}\n")
