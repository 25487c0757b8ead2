"""Entries from a recipe's sections: components found, options checked, references turned into names."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final

from ponder.components import Component, Kind
from ponder.entries import SECTIONS, Entry
from ponder.errors import InputError
from ponder.lineage import late_stages, learnt_measures
from ponder.offers import HOOKS
from ponder.options import check_options
from ponder.own_models import policies_amiss
from ponder.plugins import Registry
from ponder.problems import Problems
from ponder.references import References, Scope
from ponder.suggestions import shown
from ponder.yaml_reader import Node

_DEEPEST: Final = 8
"""Inline entries within inline entries; more can only be a default that names its own type."""


class Assembly:
    """Builds the entries of a recipe, stages in order, noting every problem on the way."""

    def __init__(self, registry: Registry, problems: Problems, declared: Mapping[Kind, Mapping[str, Node]]) -> None:
        self._registry = registry
        self._problems = problems
        self._declared = declared
        self._scope = Scope(registry, problems, declared, self._add_inline)
        self._entries: dict[Kind, dict[str, Entry]] = {kind: {} for kind in HOOKS}
        self._inline: dict[tuple[Kind, str], Any] = {}
        self._depth = 0

    def entries(self) -> dict[Kind, dict[str, Entry]]:
        """Every declared entry, and those that options hold inline, by kind and name."""
        for kind, nodes in self._declared.items():
            for name, node in nodes.items():
                self.add(kind, name, node, f"{SECTIONS[kind]}.{name}")
                if kind == "stage":
                    self._scope.earlier.append(name)
        self._refuse_cycles()
        if not self._problems.found:
            self._refuse_stages(late_stages(self._entries))
            self._refuse_stages(learnt_measures(self._entries))
            self._refuse_stages(policies_amiss(self._entries))
        return self._entries

    def add(self, kind: Kind, name: str, node: Node, path: str) -> Entry | None:
        """Check one entry and keep it; None after noting its problems."""
        component = self._component(kind, node, path)
        if component is None:
            return None
        references = References(self._scope, kind, name, node)
        given = dataclasses.replace(node, value={key: child for key, child in node.mapping.items() if key != "type"})
        checked = check_options(component.config, given, path, self._problems, references.names)
        if checked is None:
            return None
        found = tuple(references.found)
        entry = Entry(kind, name, component.name, component, checked.config, checked.plain, found, checked.files)
        self._entries[kind][name] = entry
        return entry

    def _component(self, kind: Kind, node: Node, path: str) -> Component[Any] | None:
        if not isinstance(node.value, dict):
            given = shown(node.as_written(), path)
            self._problems.add(node.place, path, f"expects a mapping with a type, such as {{type: ...}}, not {given}")
            return None
        named = node.value.get("type")
        if named is None or not isinstance(named.value, str) or not named.value:
            known = ", ".join(self._registry.names(kind)) or "none"
            self._problems.add(
                named.place if named else node.place, f"{path}.type", f"name a {kind}; installed: {known}"
            )
            return None
        try:
            return self._registry.find(kind, named.value)
        except InputError as error:
            self._problems.add(named.place, f"{path}.type", str(error))
            return None

    def _add_inline(self, kind: Kind, names: Sequence[str], node: Node, path: str) -> str | None:
        if self._depth >= _DEEPEST:
            self._problems.add(node.place, path, "an option's default goes round in a circle; name an entry instead")
            return None
        content = node.plain()
        name = self._free_name(kind, names, content)
        if (kind, name) in self._inline:
            return name
        self._inline[kind, name] = content
        self._depth += 1
        entry = self.add(kind, name, node, path)
        self._depth -= 1
        return None if entry is None else name

    def _free_name(self, kind: Kind, names: Sequence[str], content: Any) -> str:
        """The first name that nothing has, or that an inline entry of the same content has."""
        numbered = (f"{names[-1]}-{number}" for number in range(2, 10_000))
        for name in (*filter(None, names), *numbered):
            is_declared = name in self._declared[kind] or name in self._declared["stage"]
            if not is_declared and self._inline.get((kind, name), content) == content:
                return name
        raise InputError(f"{names[-1]}: too many entries of the same name")

    def _refuse_stages(self, faults: Iterable[tuple[str, str]]) -> None:
        for name, fault in dict.fromkeys(faults):
            self._problems.add(self._declared["stage"][name].place, f"stages.{name}", fault)

    def _refuse_cycles(self) -> None:
        graph = {
            (entry.kind, entry.name): [(reference.kind, reference.name) for reference in entry.references]
            for section in self._entries.values()
            for entry in section.values()
        }
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            circle = error.args[1]
            kind, name = next((kind, name) for kind, name in circle if name in self._declared[kind])
            names = " -> ".join(f"{SECTIONS[kind]}.{name}" for kind, name in circle)
            place = self._declared[kind][name].place
            self._problems.add(place, f"{SECTIONS[kind]}.{name}", f"refers to itself in a circle: {names}")
