"""Recipes: YAML read, layered, checked against the installed components, and resolved into entries; torch is not needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ponder.assembly import Assembly
from ponder.components import Kind
from ponder.entries import SECTIONS, Entry, Reference
from ponder.errors import InputError
from ponder.merge import layered, overridden
from ponder.offers import NAME
from ponder.plugins import Registry, load_registry
from ponder.problems import Place, Problems
from ponder.suggestions import did_you_mean, shown
from ponder.yaml_reader import Node

__all__ = ["SECTIONS", "Entry", "Recipe", "Reference", "check_name", "load_recipe"]

_KEYS: Final = ("name", "seed", "tracker", "extends", *SECTIONS.values())


@dataclass(frozen=True, slots=True)
class Recipe:
    """A whole recipe, valid; a section maps names to entries, stages in the order they run."""

    name: str
    seed: int
    path: Path
    tracker: Entry | None
    policies: Mapping[str, Entry]
    tasks: Mapping[str, Entry]
    rewards: Mapping[str, Entry]
    samplers: Mapping[str, Entry]
    losses: Mapping[str, Entry]
    stages: Mapping[str, Entry]
    plugin_files: tuple[Path, ...] = ()

    def entry(self, kind: Kind, name: str) -> Entry:
        """The entry a reference points at; KeyError when there is none."""
        section: Mapping[str, Entry] = getattr(self, SECTIONS[kind])
        return section[name]


def load_recipe(path: str | Path, overrides: Iterable[str] = (), registry: Registry | None = None) -> Recipe:
    """The recipe in a file, with `key.path=value` overrides.

    Raises one InputError that lists every problem, each with its file, line and key. Without a registry, what is
    installed counts.
    """
    registry = load_registry() if registry is None else registry
    problems = Problems()
    top = _read(Path(path), overrides, problems)
    _refuse_unknown(top, problems)
    name, seed = _name(top, Path(path), problems), _seed(top, problems)
    assembly = Assembly(registry, problems, _declared(top, problems))
    entries = assembly.entries()
    tracker = _tracker(top, assembly, problems)
    problems.raise_any(str(path))
    sections = {section: MappingProxyType(entries[kind]) for kind, section in SECTIONS.items()}
    return Recipe(
        name=name, seed=seed, path=Path(path), tracker=tracker, plugin_files=registry.plugin_files, **sections
    )


def _read(path: Path, overrides: Iterable[str], problems: Problems) -> Node:
    try:
        return overridden(layered(path, problems), overrides, problems)
    except InputError as error:
        problems.add(Place("", 0, path.parent), "", str(error))
        problems.raise_any(str(path))
        raise


def _refuse_unknown(top: Node, problems: Problems) -> None:
    for key, node in top.mapping.items():
        if key not in _KEYS:
            problems.add(node.place, key, f"not a section of a recipe; {did_you_mean(key, _KEYS)}")


def _name(top: Node, path: Path, problems: Problems) -> str:
    node = top.mapping.get("name")
    if node is not None:
        return check_name(node.value, node.place, "name", problems)
    if not NAME.fullmatch(path.stem):
        problems.add(top.place, "name", f"is not given, and the file's own name {path.stem!r} will not do; {_NAMING}")
    return path.stem


_NAMING: Final = "a name has lower-case letters, digits, '_', '.' and '-', and starts with none of '.' and '-'"


def check_name(name: object, place: Place, path: str, problems: Problems) -> str:
    """The name, which is safe as a directory's; otherwise a problem is noted."""
    if not isinstance(name, str) or not NAME.fullmatch(name) or len(name) > 100:
        problems.add(place, path, f"{shown(name)} is not a name; {_NAMING}")
    return str(name)


def _seed(top: Node, problems: Problems) -> int:
    node = top.mapping.get("seed")
    if node is None:
        return 0
    if isinstance(node.value, bool) or not isinstance(node.value, int) or node.value < 0:
        problems.add(node.place, "seed", f"expects a whole number from 0 on, not {shown(node.as_written())}")
        return 0
    return node.value


def _declared(top: Node, problems: Problems) -> dict[Kind, dict[str, Node]]:
    declared = {kind: _section(top, section, problems) for kind, section in SECTIONS.items()}
    for name, node in declared["stage"].items():
        for kind in ("policy", "task"):
            if name in declared[kind]:
                fault = f"has the same name as a {kind}; rename one, since a stage's name stands for what it made"
                problems.add(node.place, f"stages.{name}", fault)
    return declared


def _section(top: Node, section: str, problems: Problems) -> dict[str, Node]:
    node = top.mapping.get(section)
    if node is None or node.value == {}:
        if section == "stages":
            problems.add(node.place if node else top.place, "stages", "a recipe needs at least one stage; add one")
        return {}
    if not isinstance(node.value, dict):
        given = shown(node.as_written())
        problems.add(
            node.place, section, f"expects a mapping of names to entries, not {given}; leave it out if it is empty"
        )
        return {}
    for name, entry in node.value.items():
        check_name(name, entry.place, f"{section}.{name}", problems)
    return node.value


def _tracker(top: Node, assembly: Assembly, problems: Problems) -> Entry | None:
    node = top.mapping.get("tracker")
    if node is None or node.value is None:
        return None
    return assembly.add("tracker", "tracker", node, "tracker")
