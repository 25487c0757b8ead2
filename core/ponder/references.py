"""Reference options: from what a recipe writes, or a default says, to the names of entries."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ponder.components import EARLIER, Kind
from ponder.entries import SECTIONS, Reference
from ponder.merge import merged
from ponder.plugins import Registry
from ponder.problems import Problems
from ponder.suggestions import did_you_mean, shown
from ponder.yaml_reader import Node, node_of

_MADE_BY_STAGES: Final = ("policy", "task", "stage")
"""The kinds of option that take an earlier stage's name."""

_BUILT_WHEN_USED: Final = ("task", "reward")
"""The kinds of entry, besides stages, that may name a stage: whoever uses them must stand behind it."""

AddInline = Callable[[Kind, Sequence[str], Node, str], "str | None"]
"""Keeps an inline entry under the first free of some names (kind, names, mapping, key path) and returns the name."""


@dataclass(slots=True)
class Scope:
    """What names may mean at one point of a recipe."""

    registry: Registry
    problems: Problems
    declared: Mapping[Kind, Mapping[str, Node]]
    add_inline: AddInline
    earlier: list[str] = field(default_factory=list)
    """The stages above the one being read."""


class References:
    """Resolves the reference options of one entry; `found` lists what they name."""

    def __init__(self, scope: Scope, kind: Kind, name: str, node: Node) -> None:
        self._scope = scope
        self._kind = kind
        self._name = name
        self._node = node
        self.found: list[Reference] = []

    def names(self, field: dataclasses.Field[Any], node: Node | None, path: str) -> list[str] | None:
        """The names an option holds: one, or several when the field says so; None after noting a problem."""
        given = self._with_default(field.metadata["default"], node)
        kind, option = field.metadata["ref"], path.rpartition(".")[2]
        if not field.metadata["many"]:
            name = self._name_of(kind, option, given, path, [f"{self._name}.{option}"])
            return None if name is None else [name]
        names = [
            self._name_of(kind, option, item, f"{path}.{index}", [_type(item), f"{self._name}.{option}.{index}"])
            for index, item in enumerate(self._items(kind, given, path))
        ]
        self._refuse_repeats(names, given, path)
        return [name for name in names if name is not None]

    def _with_default(self, default: Any, node: Node | None) -> Node:
        if node is None:
            return node_of(default, self._node.place)
        if isinstance(node.value, dict) and "type" not in node.value and isinstance(default, (str, Mapping)):
            base = {"type": default} if isinstance(default, str) else dict(default)
            return merged(node_of(base, node.place), node)
        return node

    def _items(self, kind: Kind, given: Node, path: str) -> Iterator[Node]:
        if kind == "stage" and given.value == EARLIER:
            yield from (Node(name, given.place) for name in self._scope.earlier)
        elif isinstance(given.value, list):
            yield from given.value
        else:
            self._problem(
                given, path, f"expects a list of {SECTIONS[kind]}, not {shown(given.as_written())}; write [...]"
            )

    def _refuse_repeats(self, names: Sequence[str | None], given: Node, path: str) -> None:
        for name in {name for name in names if name is not None and names.count(name) > 1}:
            self._problem(given, path, f"names '{name}' twice; once is enough")

    def _name_of(self, kind: Kind, option: str, node: Node, path: str, inline_names: Sequence[str]) -> str | None:
        if isinstance(node.value, dict):
            target, name = kind, self._inline(kind, node, path, inline_names)
        elif not isinstance(node.value, str) or not node.value:
            self._problem(node, path, f"expects the name of a {kind}, not {shown(node.as_written())}")
            return None
        elif node.value in self._scope.declared[kind] and kind != "stage":
            target, name = kind, node.value
        elif kind in _MADE_BY_STAGES and node.value in self._scope.declared["stage"]:
            target, name = "stage", self._earlier_stage(node, path)
        else:
            target, name = kind, self._installed(kind, node, path, inline_names)
        if name is not None:
            self.found.append(Reference(target, name, option))
        return name

    def _earlier_stage(self, node: Node, path: str) -> str | None:
        name = str(node.value)
        if self._kind in _BUILT_WHEN_USED:
            return name
        if self._kind != "stage":
            fault = f"'{name}' is a stage, and a {self._kind} may not refer to stages"
        elif name == self._name:
            fault = "a stage cannot refer to itself; stages may only refer back"
        elif name not in self._scope.earlier:
            fault = f"stage '{name}' stands after '{self._name}', and stages may only refer back; move it up"
        else:
            return name
        self._problem(node, path, fault)
        return None

    def _installed(self, kind: Kind, node: Node, path: str, inline_names: Sequence[str]) -> str | None:
        name = str(node.value)
        if kind != "stage" and name in self._scope.registry.names(kind):
            entry = Node({"type": node}, node.place)
            return self._scope.add_inline(kind, inline_names, entry, path)
        self._problem(node, path, self._nothing_named(kind, name))
        return None

    def _inline(self, kind: Kind, node: Node, path: str, inline_names: Sequence[str]) -> str | None:
        if kind == "stage":
            self._problem(node, path, "expects the name of an earlier stage, not a mapping")
            return None
        return self._scope.add_inline(kind, inline_names, node, path)

    def _nothing_named(self, kind: Kind, name: str) -> str:
        scope = self._scope
        elsewhere = next((other for other, names in scope.declared.items() if other != kind and name in names), None)
        if elsewhere is not None:
            return f"expects a {kind}, and '{name}' is a {elsewhere}"
        known = set() if kind == "stage" else {*scope.declared[kind], *scope.registry.names(kind)}
        if kind in _MADE_BY_STAGES:
            known |= set(scope.earlier if self._kind == "stage" else scope.declared["stage"])
        text = f"no {kind} '{name}'; {did_you_mean(name, known)}"
        return "\n".join([text, *scope.registry.broken_lines()])

    def _problem(self, node: Node, path: str, text: str) -> None:
        self._scope.problems.add(node.place, path, text)


def _type(node: Node) -> str:
    named = node.mapping.get("type", node)
    return named.value if isinstance(named.value, str) else ""
