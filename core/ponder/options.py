"""Options of a recipe's entry, checked against the frozen dataclass that types them."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ponder.describe import field_type, nested_dataclass, type_text
from ponder.errors import InputError
from ponder.foreign_options import passthrough_faults
from ponder.merge import merged
from ponder.problems import Problems
from ponder.suggestions import did_you_mean, shown
from ponder.yaml_reader import Node, exists, node_of

Resolve = Callable[[dataclasses.Field[Any], Node | None, str], "list[str] | None"]
"""Turns a reference option (its field, what the recipe gives, its key path) into names; None after noting a problem."""

_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class CheckedOptions:
    """An instance of the config dataclass, the same as plain data, and the files it names."""

    config: Any
    plain: dict[str, Any]
    """Defaults filled in, names for references, paths as they were written: the same on every machine."""
    files: tuple[Path, ...]


def check_options(
    config_type: type, node: Node, path: str, problems: Problems, resolve: Resolve
) -> CheckedOptions | None:
    """The checked options of the entry at `path`, or None after noting every problem.

    A config type may have a class variable `presets`, from names to options. What the preset that the option `preset` names
    says is then taken for each option that the entry leaves out; mappings are merged as in recipes that extend others.
    It may have a property `read_from`: places that texts among the options name, which are input files where they exist.
    """
    node = _over_preset(config_type, node)
    reader = _Reader(problems, resolve)
    config = reader.read(config_type, node, path)
    if config is None:
        return None
    try:
        plain = reader.plain(config)
    except TypeError as error:
        problems.add(node.place, path, str(error))
        return None
    named = [place.absolute() for place in getattr(config, "read_from", ()) if exists(place)]
    return CheckedOptions(config, plain, tuple(dict.fromkeys([*reader.files, *named])))


def _over_preset(config_type: type, node: Node) -> Node:
    chosen = node.mapping.get("preset")
    presets: Mapping[str, Mapping[str, Any]] = getattr(config_type, "presets", {})
    if chosen is None or not isinstance(chosen.value, str) or chosen.value not in presets:
        return node
    return merged(node_of(presets[chosen.value], chosen.place), node)


class _Reader:
    def __init__(self, problems: Problems, resolve: Resolve) -> None:
        self._problems = problems
        self._resolve = resolve
        self.files: list[Path] = []
        self._written: dict[Path, str] = {}

    def read(self, config_type: type, node: Node, path: str) -> Any:
        """An instance of `config_type`, or None after noting every problem."""
        hints = typing.get_type_hints(config_type)
        fields = {field.name: field for field in dataclasses.fields(config_type) if field.init}
        before = len(self._problems.found)
        for key, child in node.mapping.items():
            if key not in fields:
                self._problems.add(child.place, f"{path}.{key}", f"no such option; {did_you_mean(key, fields)}")
        values = {name: self._value(field, hints[name], node, f"{path}.{name}") for name, field in fields.items()}
        if len(self._problems.found) > before:
            return None
        given = {name: value for name, value in values.items() if value is not _ABSENT}
        return self._made(config_type, given, node, path)

    def _made(self, config_type: type, values: Mapping[str, Any], node: Node, path: str) -> Any:
        try:
            return config_type(**values)
        except Exception as error:
            text = str(error) or type(error).__name__
            words = re.findall(r"\w+(?:\.\w+)*", text)
            named = next((word for word in words if word.partition(".")[0] in node.mapping), "")
            node, path = _within(node, path, named.split("."))
            self._problems.add(node.place, path, text.removeprefix(f"{named}: "))
            return None

    def _value(self, field: dataclasses.Field[Any], hint: Any, parent: Node, path: str) -> Any:
        node = parent.mapping.get(field.name)
        if "ref" in field.metadata:
            return self._reference(field, node, parent, path)
        if node is None:
            return self._default(field, hint, parent, path)
        if "passthrough" in field.metadata:
            return self._passed_through(field, node, path)
        nested = self._nested(hint, node, path)
        return self._converted(hint, node, path) if nested is _ABSENT else nested

    def _nested(self, hint: Any, node: Node, path: str) -> Any:
        """Dataclasses in an option, alone or in a list or mapping, are read as entries are: problem by problem."""
        alone = nested_dataclass(hint)
        if alone is not None and isinstance(node.value, dict):
            return self.read(alone, node, path)
        within = nested_dataclass(typing.get_args(hint)[-1]) if typing.get_origin(hint) in (list, dict) else None
        if within is not None and typing.get_origin(hint) is list and isinstance(node.value, list):
            return [self._item(within, child, f"{path}.{index}") for index, child in enumerate(node.value)]
        if within is not None and typing.get_origin(hint) is dict and isinstance(node.value, dict):
            return {key: self._item(within, child, f"{path}.{key}") for key, child in node.value.items()}
        return _ABSENT

    def _item(self, config_type: type, node: Node, path: str) -> Any:
        if isinstance(node.value, dict):
            return self.read(config_type, node, path)
        self._problems.add(node.place, path, f"expects a mapping, not {shown(node.as_written(), path)}")
        return None

    def _reference(self, field: dataclasses.Field[Any], node: Node | None, parent: Node, path: str) -> Any:
        default = field.metadata["default"]
        if node is None and default is MISSING:
            return self._missing(field_type(field, None), parent, path)
        if default is None and (node is None or node.value is None):
            return None
        names = self._resolve(field, node, path)
        return None if names is None else names if field.metadata["many"] else names[0]

    def _default(self, field: dataclasses.Field[Any], hint: Any, parent: Node, path: str) -> Any:
        if field.default is MISSING and field.default_factory is MISSING:
            return self._missing(type_text(hint), parent, path)
        if isinstance(field.default, Path):
            # A default that comes with the plugin lies elsewhere on every machine: its name is what a fingerprint may see.
            written = field.default.name if field.default.is_absolute() else None
            return self._located(field.default, Node(str(field.default), parent.place, written), path)
        return _ABSENT

    def _missing(self, expected: str, parent: Node, path: str) -> object:
        self._problems.add(parent.place, path, f"is required ({expected}) and not given; add it")
        return _ABSENT

    def _passed_through(self, field: dataclasses.Field[Any], node: Node, path: str) -> Any:
        if not isinstance(node.value, dict):
            self._problems.add(node.place, path, f"expects a mapping, not {shown(node.as_written(), path)}")
            return _ABSENT
        about, values = field.metadata, node.plain()
        try:
            faults = passthrough_faults(about["passthrough"], values, about["owned"], about["types"])
        except InputError as error:
            self._problems.add(node.place, path, str(error))
            return _ABSENT
        for key, fault in faults.items():
            self._problems.add(node.value[key].place, f"{path}.{key}", fault)
        return values

    def _converted(self, hint: Any, node: Node, path: str) -> Any:
        try:
            schema = OmegaConf.structured(dataclasses.make_dataclass("Option", [("value", hint, "???")]))
        except OmegaConfBaseException:
            self._problems.add(
                node.place, path, f"its plugin gives it a type that recipes cannot check: {type_text(hint)}"
            )
            return _ABSENT
        given = node.plain()
        try:
            value = OmegaConf.to_object(OmegaConf.merge(schema, {"value": given})).value  # type: ignore[union-attr]
        except (OmegaConfBaseException, ValueError, TypeError) as error:
            self._explain(hint, node, path, error)
            return _ABSENT
        fault = _coerced(given, value)
        if fault:
            self._problems.add(
                node.place, path, f"{fault} (expects {type_text(hint)}, not {shown(node.as_written(), path)})"
            )
        return self._located(value, node, path)

    def _explain(self, hint: Any, node: Node, path: str, error: Exception) -> None:
        node, path = _within(node, path, re.findall(r"[^.\[\]]+", getattr(error, "full_key", None) or "")[1:])
        text = f"expects {type_text(hint)}, not {shown(node.as_written(), path)}"
        choices = [str(value) for value in _literals(hint)]
        suggestion = f"; {did_you_mean(str(node.value), choices)}" if choices and isinstance(node.value, str) else ""
        self._problems.add(node.place, path, text + suggestion)

    def _located(self, value: Any, node: Node, path: str) -> Any:
        """The value with every relative path in it made absolute and looked for."""
        if isinstance(value, Path):
            return self._file(value, node, path)
        if isinstance(value, (list, tuple)) and isinstance(node.value, list):
            children = enumerate(zip(value, node.value, strict=True))
            return type(value)(self._located(item, child, f"{path}.{index}") for index, (item, child) in children)
        if isinstance(value, dict):
            return {key: self._located(item, node.mapping[str(key)], f"{path}.{key}") for key, item in value.items()}
        return value

    def _file(self, path_given: Path, node: Node, path: str) -> Path:
        written = node.written or str(path_given)
        located = (node.place.directory / path_given).absolute()
        if not exists(located):
            looked = f", looked for as {located}" if node.written is None else ""
            fault = f"there is no file {written}{looked}; paths are relative to the file that they stand in"
            self._problems.add(node.place, path, fault)
        self.files.append(located)
        self._written[located] = written
        return located

    def plain(self, value: Any) -> Any:
        """The value as dicts, lists, strings, numbers, booleans and None."""
        if dataclasses.is_dataclass(value):
            return {
                field.name: self.plain(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init
            }
        if isinstance(value, Mapping):
            return {str(key): self.plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.plain(item) for item in value]
        if isinstance(value, Path):
            return self._written.get(value, str(value))
        if isinstance(value, Enum):
            return value.name
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise TypeError(f"its plugin keeps a {type(value).__name__} in its options, which is not plain data")


def _coerced(given: Any, value: Any) -> str:
    """What OmegaConf converted that a recipe should say plainly: texts for numbers, numbers for texts."""
    if isinstance(given, list) and isinstance(value, (list, tuple)):
        return next(filter(None, map(_coerced, given, value)), "")
    if isinstance(given, dict) and isinstance(value, dict):
        return next(filter(None, (_coerced(item, value.get(key)) for key, item in given.items())), "")
    if isinstance(given, str) and isinstance(value, (bool, int, float)):
        return "is a text; write it as a number or as true or false, without quotes"
    if isinstance(given, (bool, int, float)) and type(value) is str:
        return "is not a text; put it in quotes"
    if isinstance(given, (int, float)) and isinstance(value, bool) and not isinstance(given, bool):
        return "is a number; write true or false"
    return ""


def _within(node: Node, path: str, keys: Iterable[str]) -> tuple[Node, str]:
    """The node that keys lead to, as far as the recipe has it, and its path."""
    for key in keys:
        child = _child(node, key)
        if child is None:
            break
        node, path = child, f"{path}.{key}"
    return node, path


def _child(node: Node, key: str) -> Node | None:
    if isinstance(node.value, list):
        return node.value[int(key)] if key.isdecimal() and int(key) < len(node.value) else None
    return node.mapping.get(key)


def _literals(hint: Any) -> list[Any]:
    if typing.get_origin(hint) is Literal:
        return list(typing.get_args(hint))
    return [
        value
        for argument in typing.get_args(hint)
        if typing.get_origin(argument) is Literal
        for value in typing.get_args(argument)
    ]
