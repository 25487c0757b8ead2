"""The figures of `ponder plan` as tables and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ponder.devices import PRECISIONS
from ponder.published import COMPARED_LENGTH, Publication, TrainingRun

if TYPE_CHECKING:
    from rich.table import Table

    from ponder.costing import Fleet
    from ponder.figures import Figures, PolicyFigures, StageFigures

_UNKNOWN = "known when it runs"


def tables(figures: Figures) -> Iterator[Table | str]:
    """What to print, in order."""
    if figures.policies:
        yield _sizes(figures)
        yield from _notes(figures)
    if any(policy.memory for policy in figures.policies):
        yield _memory(figures)
    if figures.stages:
        yield _stages(figures)
        yield _assumptions(figures.fleet)
    for policy in figures.policies:
        for run in policy.publication.runs if policy.publication else ():
            yield _run(run)


def as_json(figures: Figures) -> dict[str, Any]:
    """The same as plain data: bytes, operations, hours and dollars, not rounded."""
    return {
        "devices": {
            "device": figures.fleet.device.name,
            "count": figures.fleet.count,
            "utilisation": figures.fleet.utilisation,
            "sampling_utilisation": figures.fleet.sampling,
            "price": figures.fleet.price,
            "precision": figures.fleet.precision.name,
        },
        "policies": {policy.name: _policy_json(policy) for policy in figures.policies},
        "unknown": dict(figures.unknown),
        "published_runs": [
            _run_json(run) for policy in figures.policies if policy.publication for run in policy.publication.runs
        ],
    }


def stage_json(stage: StageFigures) -> dict[str, Any]:
    """A stage's figures as plain data."""
    step = stage.step and {"rows": stage.step.rows, "length": stage.step.length, **asdict(stage.step.memory)}
    return {**asdict(stage.cost), "is_bound": stage.is_bound, "step": step}


def _sizes(figures: Figures) -> Table:
    table = _table("policy", "parameters", "trained", "active for a token", "cache of a token", "to train on a token")
    for policy in figures.policies:
        sizes, said = policy.sizes, policy.publication or Publication(model="", parameters="", active="")
        cache = f"{_bytes_of_cache(policy):,} bytes in bfloat16"
        training = f"{_operations(sizes.training(COMPARED_LENGTH))} at {COMPARED_LENGTH:,}"
        table.add_row(
            policy.name,
            _beside(f"{sizes.parameters:,}", said.parameters),
            "all" if sizes.trainable == sizes.parameters else f"{sizes.trainable:,}",
            _beside(f"{sizes.active:,}", said.active),
            _beside(cache, said.cache),
            _beside(training, said.training),
        )
    return table


def _notes(figures: Figures) -> Iterator[str]:
    for policy in figures.policies:
        if policy.publication and policy.publication.note:
            yield f"{policy.name} ({policy.publication.model}): {policy.publication.note}."
    for name, reason in figures.unknown.items():
        yield f"{name}: no figures, since {reason}"


def _memory(figures: Figures) -> Table:
    fleet = figures.fleet
    peak = "peak" if fleet.memory is None else f"peak of each of {fleet.count}, of {_size(fleet.memory)}"
    table = _table(
        "policy, step", "precision", "weights", "gradients", "optimizer", "activations", peak, "cache, longest sequence"
    )
    for policy in figures.policies:
        for name, memory in policy.memory.items():
            assert policy.step is not None
            step = f"{policy.name}, {policy.step.stage}: {policy.step.rows:,} x {policy.step.length:,} tokens"
            is_too_much = fleet.memory is not None and memory.peak > fleet.memory
            cache = policy.sizes.cached_values * PRECISIONS[name].cache * policy.sizes.context
            parts = (memory.weights, memory.gradients, memory.optimizer, memory.activations)
            peak = f"{_size(memory.peak)}{', too much' if is_too_much else ''}"
            first = step if name == next(iter(policy.memory)) else ""
            table.add_row(first, name, *map(_size, parts), peak, _size(cache))
    return table


def _stages(figures: Figures) -> Table:
    unit = "core hours" if figures.fleet.memory is None else "GPU hours"
    table = _table("stage", "tokens", "operations", f"peak, {figures.fleet.precision.name}", unit, "time", "cost")
    for stage in figures.stages:
        table.add_row(*_stage_row(stage))
    missing = [stage for stage in figures.stages if not stage.is_cached]
    to_run = [stage for stage in missing if stage.cost.operations is not None]
    if len(to_run) > 1:
        hours, clock = (sum(getattr(stage.cost, name) for stage in to_run) for name in ("gpu_hours", "hours"))
        operations = sum(stage.cost.operations or 0 for stage in to_run)
        dollars = sum(stage.cost.dollars or 0 for stage in to_run)
        money = "" if figures.fleet.price is None else _dollars(dollars)
        name = "to run" if to_run == missing else "to run, where known"
        table.add_row(name, "", _operations(operations), "", _hours(hours), _clock(clock), money)
    return table


def _stage_row(stage: StageFigures) -> tuple[str, ...]:
    cost = stage.cost
    peak = "" if stage.step is None else _size(stage.step.memory.peak)
    if cost.tokens is None or cost.operations is None or cost.gpu_hours is None or cost.hours is None:
        return (stage.name, _UNKNOWN, "", peak, "", "", "")
    bound = "up to " if stage.is_bound else ""
    money = "" if cost.dollars is None else _dollars(cost.dollars)
    return (
        stage.name,
        f"{bound}{_count(cost.tokens)}",
        _operations(cost.operations),
        peak,
        _hours(cost.gpu_hours),
        _clock(cost.hours),
        money,
    )


def _assumptions(fleet: Fleet) -> str:
    device = fleet.device
    price = "" if fleet.price is None else f", ${fleet.price:g} an hour each"
    shared = "" if fleet.memory is None else "; weights, gradients and optimizer state are cut over all"
    return (
        f"On {fleet.count:,} {device.name}{price}: training at {100 * fleet.utilisation:.4g} % and sampling at "
        f"{100 * fleet.sampling:.4g} % of {_operations(device.peak)} a second{shared}. {fleet.precision.name}: "
        f"{fleet.precision.text}. Prompts of sampled completions are not counted."
    )


def _run(run: TrainingRun) -> Table:
    table = _table("phase", "tokens", "H800 hours", f"cost at ${run.price:g} an hour")
    table.title = f"{run.title} as published ({run.source})"
    for phase in run.phases:
        hours = phase.hours_by_throughput
        rate = phase.hours_per_token
        by = "" if rate is None else f", {rate * 1e9:.0f}K H800 hours a trillion tokens"
        table.add_row(
            f"{phase.name}{by}",
            "" if phase.tokens is None else _count(round(phase.tokens)),
            _beside(_hours(hours), _hours(phase.gpu_hours)),
            _beside(_dollars(hours * run.price), phase.cost),
        )
    total = sum(phase.hours_by_throughput for phase in run.phases)
    table.add_row("total", "", _beside(_hours(total), run.gpu_hours), _beside(_dollars(total * run.price), run.cost))
    return table


def _policy_json(policy: PolicyFigures) -> dict[str, Any]:
    sizes = policy.sizes
    return {
        **asdict(sizes),
        "cache_bytes_per_token": {name: sizes.cached_values * kind.cache for name, kind in PRECISIONS.items()},
        "training_operations_per_token": sizes.training(COMPARED_LENGTH),
        "forward_operations_per_token": sizes.forward(COMPARED_LENGTH),
        "operations_at_length": COMPARED_LENGTH,
        "published": None if policy.publication is None else _publication_json(policy.publication),
        "memory": {name: asdict(memory) for name, memory in policy.memory.items()},
        "largest_step": policy.step and {name: getattr(policy.step, name) for name in ("stage", "rows", "length")},
    }


def _publication_json(publication: Publication) -> dict[str, Any]:
    return {name: value for name, value in asdict(publication).items() if name != "runs" and value}


def _run_json(run: TrainingRun) -> dict[str, Any]:
    hours = {phase.name: phase.hours_by_throughput for phase in run.phases}
    total = sum(hours.values())
    return {"h800_hours": {**hours, "total": total}, "dollars": total * run.price, "published": asdict(run)}


def _table(*columns: str) -> Table:
    from rich.table import Table

    return Table(*columns)


def _beside(own: str, published: str) -> str:
    return f"{own} (published {published})" if published else own


def _bytes_of_cache(policy: PolicyFigures) -> int:
    return policy.sizes.cached_values * PRECISIONS["bfloat16"].cache


def _scaled(value: float, units: tuple[str, ...], digits: int) -> str:
    """A value with the largest unit that leaves something before the point; each is a thousand of the one before."""
    place = 0
    while value >= 1000 and place < len(units) - 1:
        value, place = value / 1000, place + 1
    return f"{value:,.{digits if place else 0}f} {units[place]}".strip()


def _size(count: int) -> str:
    return _scaled(count, ("bytes", "kB", "MB", "GB", "TB", "PB"), 1)


def _operations(count: float) -> str:
    return _scaled(count, ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP", "EFLOP", "ZFLOP", "YFLOP"), 2)


def _count(tokens: int) -> str:
    return _scaled(tokens, ("", "K", "M", "B", "T"), 1).replace(" ", "")


def _hours(hours: float) -> str:
    return f"{hours / 1000:,.0f}K" if hours >= 1000 else f"{hours:,.3g}"


def _clock(hours: float) -> str:
    if hours >= 48:
        return f"{hours / 24:,.1f} days"
    return f"{hours:,.1f} hours" if hours >= 1 else f"{hours * 60:,.1f} minutes"


def _dollars(dollars: float) -> str:
    if dollars >= 1e6:
        return f"${dollars / 1e6:,.3f}M"
    return f"${dollars / 1000:,.0f}K" if dollars >= 10_000 else f"${dollars:,.2f}"
