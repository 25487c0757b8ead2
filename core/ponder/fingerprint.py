"""What a stage's outcome depends on, written down and hashed: equal fingerprints mean equal results."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ponder.durable import sha256, to_json
from ponder.recipe import SECTIONS

if TYPE_CHECKING:
    from ponder.plugins import Registry
    from ponder.recipe import Entry, Recipe, Reference

_LENGTH = 32
"""Hexadecimal digits kept of the SHA-256: 128 bits, and still a convenient name of a directory."""

Ingredients = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StageIdentity:
    """A stage's fingerprint, and the record that it is the hash of."""

    fingerprint: str
    ingredients: Ingredients


def identify_stages(recipe: Recipe, registry: Registry) -> dict[str, StageIdentity]:
    """The identity of every stage of the recipe, in order.

    It is made of the run's seed, the stage's name, type and options, the digests of its input files, the versions of core
    and of the distributions that take part, and the same of everything it refers to.
    """
    identities: dict[str, StageIdentity] = {}
    # Many stages refer to the same pretrained model, which takes a while to read.
    digest = functools.cache(sha256)
    for entry in recipe.stages.values():
        record = _Recorder(recipe, registry, identities, digest).record(entry)
        ingredients = json.loads(to_json({"ponder": core_version(), "seed": recipe.seed, **record}))
        identities[entry.name] = StageIdentity(_hash(ingredients), ingredients)
    return identities


def core_version() -> str:
    """The version of the installed distribution `ponder`."""
    try:
        return importlib.metadata.version("ponder")
    except importlib.metadata.PackageNotFoundError:
        return "0"


def changes(before: Ingredients, now: Ingredients) -> list[str]:
    """What differs between two records, as `options.group_size: 8 -> 16`, in the order of the newer one."""
    old, new = dict(_flatten(before)), dict(_flatten(now))
    names = [*new, *(name for name in old if name not in new)]
    return [_change(name, old, new) for name in names if old.get(name) != new.get(name)]


def _change(name: str, old: Ingredients, new: Ingredients) -> str:
    """In full where the values say something, unlike fingerprints and digests."""
    if name.startswith("stages.") or name.endswith("files"):
        return name
    return f"{name}: {old.get(name, 'absent')} -> {new.get(name, 'absent')}"


@dataclass(frozen=True, slots=True)
class _Recorder:
    recipe: Recipe
    registry: Registry
    stages: Mapping[str, StageIdentity]
    digest: Callable[[Path], str]

    def record(self, entry: Entry) -> dict[str, object]:
        referred: dict[str, dict[str, object]] = {}
        for reference in entry.references:
            referred.setdefault(SECTIONS[reference.kind], {})[reference.name] = self._referred(reference)
        return {
            "name": entry.name,
            "type": entry.type,
            "version": self.registry.distribution_of(entry.kind, entry.type),
            "options": entry.options,
            "files": [self.digest(path) for path in entry.files],
            **referred,
        }

    def _referred(self, reference: Reference) -> object:
        """A stage by its fingerprint, any other entry in full."""
        if reference.kind == "stage":
            return self.stages[reference.name].fingerprint
        return self.record(self.recipe.entry(reference.kind, reference.name))


def _hash(ingredients: Ingredients) -> str:
    canonical = json.dumps(ingredients, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:_LENGTH]


def _flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from _flatten(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item
