"""`ponder plan`: what a run would do and cost, without doing it."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from ponder.commands import common

if TYPE_CHECKING:
    from ponder.costing import Fleet
    from ponder.figures import Figures
    from ponder.planning import PlannedStage
    from ponder.recipe import Recipe


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "plan",
        help="show which stages are done and which are to run, why, and what they cost",
        description="Show which stages of a recipe are done, which are to run, and why; then parameters, memory, tokens, "
        "floating-point operations, time and cost. No weights are allocated.",
    )
    common.add_recipe(parser)
    common.add_runs(parser)
    common.add_json(parser)
    parser.add_argument("--no-figures", action="store_true", help="show the stages only, at once")
    parser.add_argument("--gpu", metavar="NAME", help="kind of GPU, such as h100-80gb (default: this machine's cores)")
    parser.add_argument("--gpus", metavar="N", type=common.positive(int), help="how many (default: 8, or all cores)")
    parser.add_argument("--price", metavar="DOLLARS", type=common.positive(float), help="for each GPU and hour")
    parser.add_argument("--precision", help="float32, bfloat16 or fp8 (default: bfloat16, on cores float32)")
    share = "share of the GPU's peak that {} reaches (default: what DeepSeek reached on an H800)"
    parser.add_argument("--utilisation", metavar="SHARE", type=common.positive(float, 1), help=share.format("training"))
    parser.add_argument(
        "--sampling-utilisation", metavar="SHARE", type=common.positive(float, 1), help=share.format("sampling")
    )
    tokens = "tokens that a stage trains on, where only its data can tell; may be given several times"
    parser.add_argument("--tokens", metavar="STAGE=N", action="append", default=[], help=tokens)
    parser.set_defaults(command=command)


def command(arguments: Namespace) -> int:
    """Print the tables, or the same as JSON."""
    from ponder.durable import to_json
    from ponder.planning import plan_recipe
    from ponder.store import Store

    fleet = _fleet(arguments)
    registry = common.registry_from(arguments)
    recipe = common.recipe_from(arguments, registry)
    stages = plan_recipe(recipe, registry, Store(arguments.runs))
    figures = None if arguments.no_figures else _figures(arguments, recipe, stages, fleet)
    if arguments.json:
        common.write(to_json(_as_json(stages, figures), indent=2))
    else:
        _show(stages, figures)
    return 0


def _figures(arguments: Namespace, recipe: Recipe, stages: list[PlannedStage], fleet: Fleet) -> Figures:
    from ponder.figures import figures

    return figures(recipe, stages, fleet, _tokens(arguments.tokens))


def _fleet(arguments: Namespace) -> Fleet:
    from ponder.costing import Fleet
    from ponder.devices import CPU, PRECISIONS, cores, find_device
    from ponder.errors import InputError
    from ponder.suggestions import did_you_mean

    device = find_device(arguments.gpu or CPU)
    is_cpu = device.memory is None
    name = arguments.precision or ("float32" if is_cpu else "bfloat16")
    if name not in PRECISIONS:
        raise InputError(f"--precision {name}: not known; {did_you_mean(name, PRECISIONS)}")
    return Fleet(
        device=device,
        count=arguments.gpus or (cores() if is_cpu else _GPUS),
        utilisation=arguments.utilisation or device.utilisation,
        sampling=arguments.sampling_utilisation or device.sampling,
        price=arguments.price or device.price,
        precision=PRECISIONS[name],
    )


_GPUS = 8


def _tokens(given: list[str]) -> dict[str, int]:
    from ponder.errors import InputError

    tokens = {}
    for words in given:
        stage, _, number = words.partition("=")
        try:
            tokens[stage] = int(float(number))
        except (ValueError, OverflowError):
            tokens[stage] = 0
        if tokens[stage] < 1:
            raise InputError(f"--tokens {words}: expects STAGE=N, such as sft=4.3e9")
    return tokens


def _show(stages: list[PlannedStage], figures: Figures | None) -> None:
    from rich.table import Table

    from ponder.commands import plan_figures
    from ponder.progress import Display

    display = Display()
    table = Table("stage", "type", "policy", "", "why, and what")
    for stage in stages:
        state = "done" if stage.is_cached else "to run"
        text = "; ".join(filter(None, (stage.reason, stage.sentence)))
        table.add_row(stage.entry.name, stage.entry.type, stage.policy or "", state, text)
    display.console.print(table)
    for part in plan_figures.tables(figures) if figures else ():
        if isinstance(part, str):
            display.say(part)
        else:
            display.console.print(part)


def _as_json(stages: list[PlannedStage], figures: Figures | None) -> dict[str, object]:
    from ponder.commands import plan_figures

    found = {stage.name: plan_figures.stage_json(stage) for stage in figures.stages} if figures else {}
    listed = [
        {
            "stage": stage.entry.name,
            "type": stage.entry.type,
            "policy": stage.policy,
            "cached": stage.is_cached,
            "reason": stage.reason,
            "plan": stage.sentence,
            "fingerprint": stage.identity.fingerprint,
            **({} if figures is None else {"figures": found.get(stage.entry.name)}),
        }
        for stage in stages
    ]
    return {"stages": listed, **({} if figures is None else plan_figures.as_json(figures))}
