"""The keys of another library's dataclass, read from its source: nothing is imported where that can be helped."""

from __future__ import annotations

import ast
import dataclasses
import importlib
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

from ponder.errors import InputError

_LONGEST_CHAIN = 12
"""Re-exports and base classes followed before the module is imported instead."""


class _UnreadableError(Exception):
    """The source does not tell; the module must be imported."""


def passthrough_keys(target: str) -> set[str]:
    """The names of the fields of the dataclass "package.module:Name", those it inherits included.

    InputError when the library is not installed or has no such dataclass.
    """
    module, _, name = target.partition(":")
    try:
        return set(_keys(module, name, 0))
    except _UnreadableError:
        return _imported_keys(module, name)


def _keys(module: str, name: str, depth: int) -> Iterator[str]:
    if depth > _LONGEST_CHAIN:
        raise _UnreadableError
    tree = ast.parse(_source(module).read_bytes())
    definition = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
    if definition is None:
        yield from _keys(*_imported_from(tree, module, name), depth + 1)
        return
    for base in definition.bases:
        if isinstance(base, ast.Name) and base.id == "object":
            continue
        if not isinstance(base, ast.Name):
            raise _UnreadableError
        yield from _keys(module, base.id, depth + 1)
    yield from _own_keys(definition)


def _own_keys(definition: ast.ClassDef) -> Iterator[str]:
    for statement in definition.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            annotation = ast.unparse(statement.annotation)
            if "ClassVar" not in annotation:
                yield statement.target.id


def _source(module: str) -> Path:
    """The file of a module, found without importing its parents."""
    search: list[str] | None = None
    origin: str | None = None
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:length]), search)
        if spec is None:
            raise _UnreadableError
        search, origin = list(spec.submodule_search_locations or []), spec.origin
    if origin is None or not origin.endswith(".py"):
        raise _UnreadableError
    return Path(origin)


def _imported_from(tree: ast.Module, module: str, name: str) -> tuple[str, str]:
    """Where a module takes a name from; imports under TYPE_CHECKING, which lazy packages have, count too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _absolute(node, module), alias.name
    raise _UnreadableError


def _absolute(node: ast.ImportFrom, module: str) -> str:
    if not node.level:
        return node.module or ""
    is_package = _source(module).name == "__init__.py"
    parents = module.split(".")
    kept = parents[: len(parents) - node.level + is_package]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _imported_keys(module: str, name: str) -> set[str]:
    try:
        target = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"its keys are those of {module}.{name}, which cannot be imported: {error}") from error
    if not dataclasses.is_dataclass(target):
        raise InputError(f"its keys are those of {module}.{name}, which is not a dataclass")
    return {field.name for field in dataclasses.fields(target)}
