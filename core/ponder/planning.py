"""What a run of a recipe would do: which stages are there already, which are to be made, and why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ponder.building import trained_policy
from ponder.durable import read_json
from ponder.errors import InputError
from ponder.fingerprint import StageIdentity, changes, identify_stages
from ponder.store import OPTIONS_FILE, Store
from ponder.suggestions import did_you_mean

if TYPE_CHECKING:
    from ponder.plugins import Registry
    from ponder.recipe import Entry, Recipe

_CHANGES_SHOWN = 2


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """A stage of a recipe before it runs."""

    entry: Entry
    identity: StageIdentity
    is_cached: bool
    reason: str
    """Why it is to run; empty when it is cached."""
    policy: str | None
    """The policies entry that its policy descends from."""
    sentence: str
    """What its options' `plan()` says; empty when they have none."""


def plan_recipe(recipe: Recipe, registry: Registry, store: Store, until: str | None = None) -> list[PlannedStage]:
    """The stages of the recipe in order, up to and including the stage `until`."""
    if until is not None and until not in recipe.stages:
        raise InputError(f"--until {until}: no such stage in {recipe.path}; {did_you_mean(until, recipe.stages)}")
    return list(_plan(recipe, registry, store, until))


def _plan(recipe: Recipe, registry: Registry, store: Store, until: str | None) -> Iterator[PlannedStage]:
    for name, identity in identify_stages(recipe, registry).items():
        entry = recipe.stages[name]
        problem = store.problem(identity.fingerprint)
        root = trained_policy(recipe, entry)
        yield PlannedStage(
            entry,
            identity,
            is_cached=problem is None,
            reason="" if problem is None else _reason(recipe, store, name, identity, problem),
            policy=None if root is None else root.name,
            sentence=_sentence(entry),
        )
        if name == until:
            return


def _reason(recipe: Recipe, store: Store, stage: str, identity: StageIdentity, problem: str) -> str:
    if store.published(identity.fingerprint).exists():
        return f"what is stored is damaged ({problem})"
    if store.work_directory(identity.fingerprint).exists():
        return "was interrupted; continues"
    with suppress(OSError, ValueError, KeyError):
        before = read_json(store.run_directory(recipe.name) / stage / OPTIONS_FILE)["made_from"]
        found = changes(before, identity.ingredients)
        more = f" and {len(found) - _CHANGES_SHOWN} more" if len(found) > _CHANGES_SHOWN else ""
        return f"changed: {'; '.join(found[:_CHANGES_SHOWN])}{more}"
    return problem


def _sentence(entry: Entry) -> str:
    plan = getattr(entry.config, "plan", None)
    return str(plan()) if callable(plan) else ""
