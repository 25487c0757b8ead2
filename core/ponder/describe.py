"""Options as tables: names, types, defaults, and the texts that stand under the fields of their dataclasses."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import textwrap
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal

from ponder import hookspecs
from ponder.components import EARLIER

REQUIRED: Final = "required"


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a component; the options of a nested dataclass are named `outer.inner`."""

    name: str
    type: str
    default: str
    text: str


def options(config: type) -> list[Option]:
    """The options of a config dataclass, in the order of its fields, those it inherits first."""
    hints = typing.get_type_hints(config)
    texts = field_texts(config)
    rows: list[Option] = []
    for field in dataclasses.fields(config):
        if not field.init:
            continue
        hint = hints[field.name]
        rows.append(Option(field.name, field_type(field, hint), default_text(field), texts.get(field.name, "")))
        nested = nested_dataclass(hint)
        if nested is not None:
            rows += [dataclasses.replace(row, name=f"{field.name}.{row.name}") for row in options(nested)]
    return rows


def field_texts(config: type) -> dict[str, str]:
    """The string under each field, by the field's name; a subclass may say more about a field it inherits."""
    texts: dict[str, str] = {}
    for owner in reversed(config.__mro__):
        if dataclasses.is_dataclass(owner):
            texts.update(_own_texts(owner))
    return {field.name: texts[field.name] for field in dataclasses.fields(config) if field.name in texts}


def _own_texts(config: type) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(config))
        body = typing.cast(ast.ClassDef, ast.parse(source).body[0]).body
    except (OSError, TypeError, SyntaxError):
        return {}
    texts = {}
    for statement, following in itertools.pairwise(body):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = _string(following)
            if text:
                texts[statement.target.id] = text
    return texts


def _string(statement: ast.stmt) -> str:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        value = statement.value.value
        return " ".join(value.split()) if isinstance(value, str) else ""
    return ""


def first_line(documented: Any) -> str:
    """The first line of a class's or function's own docstring; empty when it has none."""
    text = inspect.cleandoc(documented.__doc__ or "").strip()
    is_generated = dataclasses.is_dataclass(documented) and text.startswith(f"{getattr(documented, '__name__', '')}(")
    return "" if is_generated or not text else text.splitlines()[0]


def field_type(field: dataclasses.Field[Any], hint: Any) -> str:
    """The type of an option as users read it; a reference says what it refers to."""
    kind = field.metadata.get("ref")
    if kind is not None:
        target = f"{kind} or stage" if kind in ("policy", "task") else str(kind)
        return f"list of {target}" if field.metadata["many"] else target
    if "passthrough" in field.metadata:
        return f"options of {field.metadata['passthrough'].replace(':', '.')}"
    return type_text(hint)


def type_text(hint: Any) -> str:
    """A type annotation as users read it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return " | ".join(str(value) for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(type_text(argument) for argument in arguments)
    if origin is tuple:
        return f"[{', '.join('...' if argument is Ellipsis else type_text(argument) for argument in arguments)}]"
    if origin is not None and arguments:
        return f"{origin.__name__}[{', '.join(type_text(argument) for argument in arguments)}]"
    if hint is Any:
        return "any"
    if hint is type(None):
        return "null"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " | ".join(member.name for member in hint)
    if isinstance(hint, type) and issubclass(hint, Path):
        return "path"
    return "mapping" if dataclasses.is_dataclass(hint) else getattr(hint, "__name__", str(hint))


def nested_dataclass(hint: Any) -> type | None:
    """The dataclass that an annotation `D` or `D | None` names."""
    candidates = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    found = [
        candidate for candidate in candidates if isinstance(candidate, type) and dataclasses.is_dataclass(candidate)
    ]
    return found[0] if len(found) == 1 else None


def default_text(field: dataclasses.Field[Any]) -> str:
    """The default of a field as it would be written in a recipe, or `required`."""
    if "ref" in field.metadata:
        default = field.metadata["default"]
        return "every earlier stage" if default == EARLIER else REQUIRED if default is MISSING else _written(default)
    if field.default is not MISSING:
        return _written(field.default)
    if field.default_factory is not MISSING:
        return _written(field.default_factory())
    return REQUIRED


def _written(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_written(item) for item in value) + "]"
    if dataclasses.is_dataclass(value):
        return "see below"
    return repr(value) if value == "" else str(value)


def hooks() -> dict[str, Any]:
    """Every hook specification by name."""
    functions = inspect.getmembers(hookspecs, inspect.isfunction)
    return {name: function for name, function in functions if name.startswith("ponder_")}
