"""Layering recipes: `extends` puts a file over others, `key.path=value` puts a value over the file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from ponder.errors import InputError
from ponder.problems import Place, Problems
from ponder.suggestions import did_you_mean, shown
from ponder.yaml_reader import Node, exists, read_file, read_value

MAX_FILES: Final = 32

_ENTRY_DEPTH = 2
"""Keys down to an entry's options: section and name."""


def layered(path: Path, problems: Problems) -> Node:
    """The mapping of a file over those it `extends`."""
    return _Layers(problems).read(path, ())


class _Layers:
    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._files = 0

    def read(self, path: Path, above: tuple[Path, ...]) -> Node:
        self._files += 1
        if self._files > MAX_FILES:
            raise InputError(f"{above[0]}: extends more than {MAX_FILES} files; flatten the recipe")
        top = read_file(path, self._problems)
        result: Node | None = None
        for name in self._extended(top):
            base = self._base(name, path, above)
            result = base if result is None else merged(result, base)
        own = replace(top, value={key: node for key, node in top.mapping.items() if key != "extends"})
        return own if result is None else merged(result, own)

    def _extended(self, top: Node) -> list[Node]:
        node = top.mapping.get("extends")
        if node is None:
            return []
        items = node.value if isinstance(node.value, list) else [node]
        for item in items:
            if not isinstance(item.value, str) or not item.value:
                self._problems.add(item.place, "extends", "expects the path of a recipe, or a list of paths")
        return [item for item in items if isinstance(item.value, str) and item.value]

    def _base(self, name: Node, path: Path, above: tuple[Path, ...]) -> Node:
        base = Path(os.path.normpath(path.parent / str(name.value)))
        chain = (*above, path)
        if base.resolve() in {file.resolve() for file in chain}:
            cycle = " -> ".join(str(file) for file in (*chain, base))
            raise InputError(f"{name.place}: extends: goes round in a circle: {cycle}; take one of them out")
        if not exists(base):
            raise InputError(
                f"{name.place}: extends: there is no file {base}; paths are relative to the file they stand in"
            )
        return self.read(base, chain)


def merged(lower: Node, upper: Node) -> Node:
    """`upper` over `lower`: mappings merge key by key, anything else replaces, an entry of another type replaces whole."""
    if not isinstance(lower.value, dict) or not isinstance(upper.value, dict) or _types_differ(lower, upper):
        return upper
    result = dict(lower.value)
    for key, node in upper.value.items():
        result[key] = merged(result[key], node) if key in result else node
    return replace(upper, value=result)


def _types_differ(lower: Node, upper: Node) -> bool:
    new = upper.mapping.get("type")
    old = lower.mapping.get("type")
    return new is not None and old is not None and new.value != old.value


def overridden(recipe: Node, overrides: Iterable[str], problems: Problems) -> Node:
    """The recipe with each `key.path=value` put in; the value is read as YAML."""
    for override in overrides:
        recipe = _overridden(recipe, override, problems)
    return recipe


def _overridden(recipe: Node, override: str, problems: Problems) -> Node:
    path, separator, text = override.partition("=")
    path = path.strip()
    place = Place(f"override {path}", -1, recipe.place.directory)
    if not separator or not path:
        fault = Place("override", -1, recipe.place.directory)
        problems.add(fault, "", f"{shown(override)} is not key.path=value, such as stages.reason.group_size=8")
        return recipe
    if path == "extends":
        problems.add(place, path, "cannot be overridden; write a file that extends the others")
        return recipe
    try:
        node = read_value(text, place, problems, path) or Node(None, place)
        keys = _split(recipe, path)
        return _put(recipe, keys, replace(node, place=place), 0)
    except InputError as error:
        problems.add(place, "", str(error).removeprefix(f"{place}: "))
        return recipe


def _split(recipe: Node, path: str) -> list[str]:
    """The keys of a path; a name with dots in it is taken as one key where the recipe has it."""
    parts = path.split(".")
    keys: list[str] = []
    node: Node | None = recipe
    while parts:
        known = node.mapping if node is not None else {}
        length = max((n for n in range(1, len(parts) + 1) if ".".join(parts[:n]) in known), default=1)
        keys.append(".".join(parts[:length]))
        node = known.get(keys[-1])
        parts = parts[length:]
    return keys


def _put(node: Node, keys: list[str], value: Node, depth: int) -> Node:
    if depth == len(keys):
        return value
    key, where = keys[depth], ".".join(keys[:depth])
    if isinstance(node.value, list):
        return _put_item(node, keys, value, depth)
    if not isinstance(node.value, dict):
        raise InputError(
            f"{where} is {shown(node.as_written(), where)}, not a mapping; there is no {key!r} in it to override"
        )
    if key not in node.value:
        _check_new(node.value, keys, depth)
    child = node.value.get(key, Node({}, value.place))
    return replace(node, value={**node.value, key: _put(child, keys, value, depth + 1)})


def _put_item(node: Node, keys: list[str], value: Node, depth: int) -> Node:
    items = list(node.value) if isinstance(node.value, list) else []
    if not keys[depth].isdecimal() or int(keys[depth][:6]) >= len(items):
        raise InputError(f"{'.'.join(keys[:depth])} has no item {keys[depth]!r}; items are 0 to {len(items) - 1}")
    index = int(keys[depth])
    items[index] = _put(items[index], keys, value, depth + 1)
    return replace(node, value=items)


def _check_new(known: Mapping[str, Node], keys: list[str], depth: int) -> None:
    # A new entry or option may be set as a whole and is checked later; going into an entry that is not there is a slip.
    if depth < _ENTRY_DEPTH < len(keys):
        kind = f"section '{keys[0]}'" if depth == 0 else f"entry '{'.'.join(keys[:2])}'"
        raise InputError(f"the recipe has no {kind}; {did_you_mean(keys[depth], known)}")
