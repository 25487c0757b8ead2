"""Turns the names in a stage's options into objects: policies through their lineage, tasks, samplers, losses, rubrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ponder.components import Component
from ponder.durable import read_json
from ponder.errors import InputError
from ponder.options import check_options
from ponder.problems import Place, Problems
from ponder.randomness import derive_seed
from ponder.yaml_reader import Node, node_of

if TYPE_CHECKING:
    from ponder.context import FinishedStage
    from ponder.interfaces import BatchReward, Loss, Policy, Reward, Sampler, Task
    from ponder.plugins import Registry
    from ponder.recipe import Entry, Recipe
    from ponder.rubric import Rubric

Finished = Mapping[str, "FinishedStage"]


def root_policy(recipe: Recipe, name: str) -> Entry:
    """The policies entry that `name` is, or that the stage `name` descends from through its option `policy`."""
    while name not in recipe.policies:
        if name not in recipe.stages:
            raise InputError(f"no policy and no stage {name!r} in recipe {recipe.name!r}")
        parent = _parent_policy(recipe.stages[name])
        if parent is None:
            raise InputError(
                f"stage {name!r} cannot stand for a policy: a stage that makes one names its origin in the option 'policy'"
            )
        name = parent
    return recipe.policies[name]


def trained_policy(recipe: Recipe, stage: Entry) -> Entry | None:
    """The policies entry that a stage's own policy belongs to; None when it has no option `policy`."""
    return None if _parent_policy(stage) is None else root_policy(recipe, stage.name)


def build_policy(recipe: Recipe, registry: Registry, finished: Finished, name: str) -> Policy:
    """A policies entry as it begins, or the policy a finished stage made, by the same component.

    A component that asks for `task` gets a function from the name of a task to the task.
    """
    root = root_policy(recipe, name)
    policy: Policy = root.component.make(
        root.config,
        checkpoint=None if name == root.name else _product(finished, name, "policy"),
        seed=derive_seed(recipe.seed, root.name),
        task=partial(build_task, recipe, registry, finished),
    )
    return policy


def load_policy(registry: Registry, directory: Path) -> Policy:
    """The policy in a finished stage's directory, by the component that is recorded beside it."""
    result, origin = read_json(directory / "result.json"), read_json(directory / "options.json")["policy"]
    if result["policy"] is None or origin is None:
        raise InputError(f"{directory}: stage {result['stage']!r} made no policy; name one that did")
    component = registry.find("policy", origin["type"])
    config = make_config(component, origin["options"], directory / "options.json")
    policy: Policy = component.make(config, checkpoint=directory / result["policy"])
    return policy


def make_config(component: Component[Any], options: Mapping[str, object], source: Path) -> Any:
    """Checked options from plain data that names no other entries, or names them by themselves; `source` is where it is from."""
    problems = Problems()
    node = node_of(options, Place(str(source), 0, source.parent))
    checked = check_options(component.config, node, component.name, problems, _names_as_given)
    problems.raise_any(str(source))
    assert checked is not None
    return checked.config


def _names_as_given(field: Field[Any], node: Node | None, path: str) -> list[str] | None:
    if node is None:
        return []
    given = node.plain()
    return [str(name) for name in given] if isinstance(given, list) else [str(given)]


def build_task(recipe: Recipe, registry: Registry, finished: Finished, name: str) -> Task:
    """A tasks entry, or the JSON Lines file a finished stage made, read by the installed task `jsonl`.

    A component that asks for `task` gets a function from the name of a task to the task.
    """
    task: Task
    if name in recipe.tasks:
        entry = recipe.tasks[name]
        task = entry.component.make(entry.config, task=partial(build_task, recipe, registry, finished))
    else:
        component = registry.find("task", "jsonl")
        task = component.make(component.config(path=_product(finished, name, "task")))
    return task


def build_sampler(recipe: Recipe, name: str, changes: Mapping[str, object]) -> Sampler:
    """A samplers entry, with some of its options replaced."""
    entry = _entry(recipe.samplers, name, "sampler")
    known = {field.name for field in fields(entry.config)}
    unknown = [option for option in changes if option not in known]
    if unknown:
        raise InputError(
            f"sampler {name!r} ({entry.type}) has no option {unknown[0]!r}, which is to be changed in the run"
        )
    sampler: Sampler = entry.component.make(replace(entry.config, **changes))
    return sampler


def build_loss(recipe: Recipe, name: str) -> Loss:
    """A losses entry."""
    entry = _entry(recipe.losses, name, "loss")
    loss: Loss = entry.component.make(entry.config)
    return loss


def build_rubric(recipe: Recipe, finished: Finished, names: Sequence[str], say: Callable[[str], None]) -> Rubric:
    """The weighted sum of these rewards entries; `say` is told what goes wrong with one.

    A component that asks for `stage` gets a function from the name of an earlier stage to what it made.
    """
    from ponder.rubric import NamedReward, Rubric

    rewards = []
    for name in names:
        entry = _entry(recipe.rewards, name, "reward")
        reward: Reward | BatchReward = entry.component.make(entry.config, stage=partial(finished_stage, finished))
        rewards.append(NamedReward(name, entry.config.weight, reward, entry.config))
    return Rubric(rewards, plugin_files=recipe.plugin_files, say=say)


def finished_stage(finished: Finished, name: str) -> FinishedStage:
    """An earlier stage of the run."""
    if name not in finished:
        raise InputError(f"stage {name!r} has not run before; have: {', '.join(finished) or 'none'}")
    return finished[name]


def _entry(section: Mapping[str, Entry], name: str, kind: str) -> Entry:
    if name not in section:
        raise InputError(f"no {kind} {name!r} in the recipe; have: {', '.join(section) or 'none'}")
    return section[name]


def _parent_policy(stage: Entry) -> str | None:
    return next((reference.name for reference in stage.references if reference.option == "policy"), None)


def _product(finished: Finished, name: str, kind: str) -> Path:
    if name not in finished:
        raise InputError(f"stage {name!r} has not run before the stage that asks for its {kind}")
    path: Path | None = getattr(finished[name].result, kind)
    if path is None:
        raise InputError(f"stage {name!r} made no {kind}; a later stage of the recipe refers to it as one")
    return path
