"""A small recipe that is valid and uses a component: what `ponder plugins show` prints as an example."""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal

from ponder.components import Kind
from ponder.describe import nested_dataclass
from ponder.entries import SECTIONS
from ponder.own_models import has_own_model, is_policy_to_draw_from, takes_own_models
from ponder.plugins import Registry
from ponder.problems import RecipeError

_ENTRY_NAMES: Final[Mapping[str, str]] = {"policy": "base", "task": "problems", "sampler": "sampler"}
"""What entries are called in an example; others are called after their component."""
_PLAIN: Final = re.compile(r"[A-Za-z_][\w./-]*")
_NOT_TEXT: Final = {"true", "false", "null", "yes", "no", "on", "off", "nan", "inf"}
_WIDEST: Final = 110


@dataclass(frozen=True, slots=True)
class RecipeExample:
    """A recipe as YAML, and the input files that it names but that nobody has yet."""

    text: str
    files: tuple[str, ...] = ()


def example_recipe(registry: Registry, kind: Kind, name: str) -> RecipeExample:
    """A whole recipe around the component, of what is installed.

    A config class may say with a class variable `example`, a mapping of options, how it is used best; what it leaves out is
    filled in. InputError when nobody offers the component.
    """
    draft = _Draft(registry)
    if kind == "tracker":
        draft.tracker = draft.options(kind, name)
    else:
        draft.add(kind, name)
    stage = None if kind == "stage" else draft.stage_that_uses(kind)
    if stage is not None:
        draft.add("stage", stage, {kind: draft.first(kind)} if kind != "tracker" else {})
    return RecipeExample("\n".join(draft.lines()), tuple(draft.files))


def example_problems(registry: Registry, example: RecipeExample) -> tuple[str, ...]:
    """What is wrong with an example, were its files there."""
    from ponder.recipe import load_recipe

    with tempfile.TemporaryDirectory(prefix="ponder-example-") as directory:
        for name in example.files:
            (Path(directory) / name).touch()
        path = Path(directory) / "example.yaml"
        path.write_text(example.text, encoding="utf-8")
        try:
            load_recipe(path, (), registry)
        except RecipeError as error:
            return tuple(problem.replace(f"{directory}/", "") for problem in error.problems)
    return ()


@dataclass
class _Draft:
    registry: Registry
    sections: dict[Kind, dict[str, dict[str, object]]] = field(default_factory=lambda: {kind: {} for kind in SECTIONS})
    tracker: dict[str, object] | None = None
    files: list[str] = field(default_factory=list)
    _busy: set[tuple[Kind, str]] = field(default_factory=set)

    def add(self, kind: Kind, name: str, given: Mapping[str, str] = {}) -> str:
        """Put an entry of the component into its section; `given` are the names that its references to a kind shall have."""
        self._busy.add((kind, name))
        options = self.options(kind, name, given)
        self._busy.discard((kind, name))
        entry = _ENTRY_NAMES.get(kind, name)
        while entry in self.sections[kind]:
            entry += "_2"
        self.sections[kind][entry] = options
        return entry

    def first(self, kind: Kind) -> str:
        """The entry that the example is about: those it refers to were added before it."""
        return list(self.sections[kind])[-1]

    def options(self, kind: Kind, name: str, given: Mapping[str, str] = {}) -> dict[str, object]:
        """The component's type with the options it needs."""
        config = self.registry.find(kind, name).config
        shown: Mapping[str, object] = getattr(config, "example", {})
        hints = typing.get_type_hints(config)
        options: dict[str, object] = {"type": name}
        for option in dataclasses.fields(config):
            if not option.init:
                continue
            value = self._value(option, hints[option.name], shown, given)
            if value is not MISSING:
                options[option.name] = value
                self._note_files(hints[option.name], value)
        return options

    def _value(
        self, option: dataclasses.Field[Any], hint: Any, shown: Mapping[str, object], given: Mapping[str, str]
    ) -> object:
        kind, many = option.metadata.get("ref"), option.metadata.get("many", False)
        if kind is not None and kind in given and option.metadata["default"] is not None:
            return [given[kind]] if many else given[kind]
        if option.name in shown:
            value = shown[option.name]
            if kind == "stage" and isinstance(value, Mapping):
                return self.add("stage", str(value["type"]))
            return value
        if kind is not None:
            if option.metadata["default"] is not MISSING and not self._draws_from(option):
                return MISSING
            return [self._referred(kind)] if many else self._referred(kind)
        is_required = option.default is MISSING and option.default_factory is MISSING
        return _placeholder(option.name, hint) if is_required else MISSING

    def _draws_from(self, option: dataclasses.Field[Any]) -> bool:
        """Whether the option names a policy to draw from, and no sampler of the example has a model of its own."""
        samplers = [str(options["type"]) for options in self.sections["sampler"].values()]
        return is_policy_to_draw_from(option) and not any(map(self._has_own_model, samplers))

    def _has_own_model(self, sampler: str) -> bool:
        return has_own_model(self.registry.find("sampler", sampler).config)

    def _referred(self, kind: Kind) -> str:
        """An entry of this kind that is there, or a new one of the installed component that needs least."""
        if self.sections[kind]:
            return next(iter(self.sections[kind]))
        free = [
            name for name in self.registry.names(kind) if (kind, name) not in self._busy and self._is_single(kind, name)
        ]
        if not free:
            return f"name_of_a_{kind}"
        return self.add(kind, min(free, key=lambda name: (self._needs(kind, name), name)))

    def _is_single(self, kind: Kind, name: str) -> bool:
        return sum(offer.component.name == name and offer.kind == kind for offer in self.registry.all()) == 1

    def _needs(self, kind: Kind, name: str) -> int:
        """How much must be added to a component's bare name; one that shows how it is used comes first."""
        config = self.registry.find(kind, name).config
        shown, hints = getattr(config, "example", {}), typing.get_type_hints(config)
        needs = -1 if shown else 0
        for option in dataclasses.fields(config):
            is_file = hints[option.name] is Path or Path in typing.get_args(hints[option.name])
            if is_file and option.name in shown:
                needs += 10
                continue
            missing = option.metadata.get("default", option.default) is MISSING and option.default_factory is MISSING
            if missing and option.init:
                cost = 10 if is_file else 2 if "ref" in option.metadata else 1
                needs += 0 if cost == 1 and option.name in shown else cost
        return needs

    def stage_that_uses(self, kind: Kind) -> str | None:
        """The installed stage that takes such a component and needs least besides; for a tracker, any stage."""
        is_teacher = kind == "sampler" and self._has_own_model(str(self.sections[kind][self.first(kind)]["type"]))
        found = [
            (self._needs("stage", name) + len(references), len(references), name)
            for name in self.registry.names("stage")
            if self._is_single("stage", name)
            for references in [_references(self.registry.find("stage", name).config)]
            if kind == "tracker" or kind in references
            if not is_teacher or takes_own_models(self.registry.find("stage", name).config)
        ]
        return min(found)[2] if found else None

    def _note_files(self, hint: Any, value: object) -> None:
        if hint is Path or Path in typing.get_args(hint):
            self.files.append(str(value))

    def lines(self) -> Iterator[str]:
        """The recipe as YAML."""
        yield "name: example"
        if self.tracker is not None:
            yield f"tracker: {_flow(self.tracker)}"
        for kind, section in SECTIONS.items():
            if self.sections[kind]:
                yield f"{section}:"
            for name, options in self.sections[kind].items():
                line = f"  {name}: {_flow(options)}"
                yield from [line] if len(line) <= _WIDEST else [f"  {name}:", *_block(options)]


def _references(config: type) -> list[str]:
    """The kinds that an entry must or does name; what is optional and left out by default does not count."""
    fields = [option for option in dataclasses.fields(config) if "ref" in option.metadata]
    return [option.metadata["ref"] for option in fields if option.metadata["default"] is not None]


def _placeholder(name: str, hint: Any) -> object:
    """A value of the type, for an option that has no default."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return arguments[0]
    if origin in (list, tuple):
        return []
    if origin is dict or nested_dataclass(hint) is not None:
        return {}
    simple: dict[Any, object] = {str: name, int: 1, float: 1.0, bool: False, Path: f"{name}.jsonl"}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return next(iter(hint)).name
    return simple.get(hint, simple.get(arguments[0] if arguments else None, name))


def _block(options: Mapping[str, object]) -> Iterator[str]:
    for key, value in options.items():
        yield f"    {key}: {_flow(value)}"


def _flow(value: object) -> str:
    """A value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flow(str(key))}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str | Path):
        text = str(value)
        return (
            text if _PLAIN.fullmatch(text) and text.lower() not in _NOT_TEXT else json.dumps(text, ensure_ascii=False)
        )
    return json.dumps(value)
