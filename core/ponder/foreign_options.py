"""Keys and types of another library's dataclass, read from its source: nothing is imported where that can be helped."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import operator
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, Final, Literal

from ponder.describe import type_text
from ponder.errors import InputError
from ponder.suggestions import did_you_mean, shown

_LONGEST_CHAIN = 12
"""Re-exports and base classes followed before the module is imported instead."""

_PLAIN: Final[Mapping[str, Any]] = {kind.__name__: kind for kind in (int, float, bool, str, list)}


class _UnreadableError(Exception):
    """The source does not tell; the module must be imported."""


class _NotSimpleError(Exception):
    """An annotation is of more than plain values and lists of them."""


def passthrough_fields(target: str) -> dict[str, Any]:
    """The fields of the dataclass "package.module:Name" with their types, those it inherits included; Any where these are not simple.

    InputError when the library is not installed or has no such dataclass.
    """
    module, _, name = target.partition(":")
    try:
        return dict(_read_fields(module, name, 0))
    except _UnreadableError:
        return dict.fromkeys(_imported_keys(module, name), Any)


def passthrough_faults(
    target: str, values: Mapping[str, Any], owned: Collection[str] = (), types: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """What is wrong with keys and values for the dataclass "package.module:Name", by key.

    Only values of fields whose annotation is of plain values, or whose metadata list `choices`, are checked. `owned` are keys
    that are not to be given, `types` those of fields whose annotation does not tell them. InputError as of `passthrough_fields`.
    """
    hints = {**passthrough_fields(target), **(types or {})}
    faults = {}
    for key, value in values.items():
        if key in owned:
            faults[key] = "is set by the component itself; take it out"
        elif key not in hints:
            hint = did_you_mean(key, hints.keys() - set(owned))
            faults[key] = f"{target.replace(':', '.')} has no such field; {hint}"
        elif not _accepts(hints[key], value):
            faults[key] = f"expects {type_text(hints[key])}, not {shown(value, key)}"
    return faults


def _accepts(hint: Any, value: object) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_accepts(argument, value) for argument in arguments)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in arguments)
    if origin is list:
        return isinstance(value, list) and all(_accepts(arguments[0], item) for item in value)
    # A bool is an int to Python, not to who reads a recipe.
    return type(value) in ((int, float) if hint is float else (hint,))


def _read_fields(module: str, name: str, depth: int) -> Iterator[tuple[str, Any]]:
    if depth > _LONGEST_CHAIN:
        raise _UnreadableError
    tree = ast.parse(_source(module).read_bytes())
    definition = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
    if definition is None:
        yield from _read_fields(*_imported_from(tree, module, name), depth + 1)
        return
    for base in definition.bases:
        if isinstance(base, ast.Name) and base.id == "object":
            continue
        if not isinstance(base, ast.Name):
            raise _UnreadableError
        yield from _read_fields(module, base.id, depth + 1)
    yield from _own_fields(definition)


def _own_fields(definition: ast.ClassDef) -> Iterator[tuple[str, Any]]:
    for statement in definition.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            annotation = ast.unparse(statement.annotation)
            if "ClassVar" not in annotation:
                yield statement.target.id, _type_of(statement)


def _type_of(statement: ast.AnnAssign) -> Any:
    try:
        hint = _simple(statement.annotation)
    except _NotSimpleError:
        return Any
    choices = _choices(statement.value)
    if not choices:
        return hint
    listed: Any = Literal[choices]
    return listed | None if _accepts(hint, None) else listed


def _choices(default: ast.expr | None) -> tuple[Any, ...]:
    """What `field(metadata={"choices": [...]})` lists, as transformers' parser of arguments reads it."""
    for keyword in default.keywords if isinstance(default, ast.Call) else []:
        if keyword.arg == "metadata" and isinstance(keyword.value, ast.Dict):
            for key, value in zip(keyword.value.keys, keyword.value.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "choices" and isinstance(value, ast.List):
                    return tuple(item.value for item in value.elts if isinstance(item, ast.Constant))
    return ()


def _simple(annotation: ast.expr) -> Any:
    """The type that an annotation stands for."""
    match annotation:
        case ast.Constant(value=None):
            return type(None)
        case ast.Constant(value=str(text)):
            return _simple(ast.parse(text, mode="eval").body)
        case ast.Name(id=name) if name in _PLAIN:
            return _PLAIN[name]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _simple(left) | _simple(right)
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=inner):
            return _generic(name, inner.elts if isinstance(inner, ast.Tuple) else [inner])
    raise _NotSimpleError


def _generic(name: str, arguments: list[ast.expr]) -> Any:
    if name == "Literal" and all(isinstance(argument, ast.Constant) for argument in arguments):
        return Literal[tuple(map(ast.literal_eval, arguments))]
    if name == "Union":
        return functools.reduce(operator.or_, map(_simple, arguments))
    if name == "Optional":
        return _simple(arguments[0]) | None
    if name in ("list", "List"):
        return list[_simple(arguments[0])]  # type: ignore[misc]
    raise _NotSimpleError


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
