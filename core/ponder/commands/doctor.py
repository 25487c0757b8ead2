"""`ponder doctor`: what would go wrong in silence, found before anything is trained."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from ponder.commands import common

if TYPE_CHECKING:
    from ponder.doctor.examination import Diagnosis

_ILL = 1
_STYLES = {"problem": "bold red", "warning": "yellow", "not yet": "dim", "fine": "green"}


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "doctor",
        help="look for what would go wrong in silence, before anything is trained",
        description=(
            "Check a recipe without training: whether a perfect answer gets full marks, templates, tags and ends agree, the sampler "
            "tells the trainer's log-probabilities, rewards have spread and no memory, and no exam is learnt from. Exit code 1 when "
            "there is a problem. What finished stages have made is looked at as it is."
        ),
    )
    common.add_recipe(parser)
    common.add_runs(parser)
    common.add_json(parser)
    parser.add_argument(
        "--stage", metavar="STAGE", action="append", default=[], help="look at this stage; may be repeated"
    )
    parser.set_defaults(command=command)


def command(arguments: Namespace) -> int:
    """Examine, print, and return 1 when there is a problem."""
    from ponder.doctor.examination import Diagnosis, examine
    from ponder.doctor.findings import Finding
    from ponder.errors import InputError
    from ponder.problems import RecipeError
    from ponder.progress import Display
    from ponder.suggestions import did_you_mean

    registry = common.registry_from(arguments)
    display = Display(sys.stderr)
    try:
        recipe = common.recipe_from(arguments, registry)
    except RecipeError as error:
        question = "Is the recipe valid?"
        found = [Diagnosis("recipe", question, (), Finding("problem", problem)) for problem in error.problems]
        return _tell(found, arguments)
    for name in arguments.stage:
        if name not in recipe.stages:
            raise InputError(f"--stage {name}: no such stage in {recipe.path}; {did_you_mean(name, recipe.stages)}")
    finished = common.finished_stages(recipe, registry, arguments.runs)
    with display.console.status("examining ...") if display.console.is_terminal else display.bar("", 0):
        found = list(examine(recipe, registry, finished, display.say, arguments.stage))
    return _tell(found, arguments)


def _tell(found: list[Diagnosis], arguments: Namespace) -> int:
    problems = [diagnosis for diagnosis in found if diagnosis.finding.severity == "problem"]
    if arguments.json:
        common.write_json({"healthy": not problems, "findings": [_as_json(diagnosis) for diagnosis in found]})
    else:
        _show(found)
    return _ILL if problems else 0


def _show(found: list[Diagnosis]) -> None:
    from rich.text import Text

    from ponder.progress import Display, printable

    display = Display()
    for diagnosis in found:
        finding = diagnosis.finding
        line = Text.assemble((f"{finding.severity:8}", _STYLES[finding.severity]), f" {diagnosis.check}")
        line.append(f" ({_listed(diagnosis.stages)})" if diagnosis.stages else "", style="dim")
        display.console.print(line, soft_wrap=True)
        text = finding.text or diagnosis.question
        display.console.print(Text(f"         {printable(text)}"), soft_wrap=True)
        if finding.advice:
            display.console.print(Text(f"         What to do: {printable(finding.advice)}."), soft_wrap=True)
    counts = {severity: sum(item.finding.severity == severity for item in found) for severity in _STYLES}
    display.say(", ".join(f"{count} {severity}" for severity, count in counts.items() if count))


def _listed(stages: tuple[str, ...], most: int = 4) -> str:
    more = f" and {len(stages) - most} more" if len(stages) > most else ""
    return f"{', '.join(stages[:most])}{more}"


def _as_json(diagnosis: Diagnosis) -> dict[str, object]:
    finding = diagnosis.finding
    return {
        "check": diagnosis.check,
        "question": diagnosis.question,
        "stages": list(diagnosis.stages),
        "severity": finding.severity,
        "text": finding.text,
        "advice": finding.advice,
    }
