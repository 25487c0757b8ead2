"""A JSON schema of recipes with everything that is installed, for completion and checks in editors."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal

from ponder.components import EARLIER
from ponder.describe import field_texts, first_line
from ponder.entries import SECTIONS
from ponder.offers import HOOKS
from ponder.plugins import Offer, Registry

Schema = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
NAMES: Final = r"^[a-z0-9_][a-z0-9_.-]*$"
_SIMPLE: Final[Mapping[Any, str]] = {str: "string", bool: "boolean", int: "integer", float: "number", Path: "string"}


def recipe_schema(registry: Registry) -> Schema:
    """The schema; what it cannot say (which names exist, ranges, files) `ponder validate` does."""
    sections = {section: _section(registry, kind) for kind, section in SECTIONS.items()}
    return {
        "$schema": DIALECT,
        "title": "A recipe of ponder",
        "type": "object",
        "additionalProperties": False,
        "required": ["stages"],
        "properties": {
            "name": {
                "type": "string",
                "pattern": NAMES,
                "description": "Names the run's directory; the file's when absent.",
            },
            "seed": {"type": "integer", "minimum": 0, "default": 0, "description": "Where all randomness comes from."},
            "extends": {
                "description": "A recipe that this one is laid over, or several.",
                "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
            },
            "tracker": {"anyOf": [_entry(registry, "tracker"), {"type": "null"}]},
            **sections,
        },
        "$defs": {_key(offer): _component(offer) for offer in registry.all()},
    }


def _section(registry: Registry, kind: Any) -> Schema:
    names = {"pattern": NAMES}
    return {"type": ["object", "null"], "propertyNames": names, "additionalProperties": _entry(registry, kind)}


def _entry(registry: Registry, kind: Any) -> Schema:
    """An entry whose `type` says which options it has; without one it is laid over an entry of the recipe that it extends."""
    offers = [offer for offer in registry.all() if offer.kind == kind]
    described = [{"const": offer.component.name, "description": first_line(offer.component.config)} for offer in offers]
    chosen = [
        {
            "if": {"properties": {"type": {"const": offer.component.name}}, "required": ["type"]},
            "then": {"$ref": f"#/$defs/{_key(offer)}"},
        }
        for offer in offers
    ]
    return {
        "type": "object",
        "properties": {"type": {"description": f"Which {kind}; see `{HOOKS[kind]}`.", "anyOf": described or [{}]}},
        "allOf": chosen,
    }


def _key(offer: Offer) -> str:
    return f"{offer.kind}.{offer.component.name}"


def _component(offer: Offer) -> Schema:
    return _dataclass(offer.component.config, {"type": {"const": offer.component.name}})


def _dataclass(config: type, more: Mapping[str, Schema] | None = None) -> Schema:
    hints, texts = typing.get_type_hints(config), field_texts(config)
    # What is required may stand in the recipe that is extended, so nothing is.
    options = {
        field.name: {**_option(field, hints[field.name]), **_told(field, texts)}
        for field in dataclasses.fields(config)
        if field.init
    }
    return {
        "type": "object",
        "description": first_line(config),
        "additionalProperties": False,
        "properties": {**(more or {}), **options},
    }


def _told(field: dataclasses.Field[Any], texts: Mapping[str, str]) -> Schema:
    told: Schema = {"description": texts[field.name]} if field.name in texts else {}
    default = field.metadata["default"] if "ref" in field.metadata else field.default
    if isinstance(default, str | int | float | bool) and default != EARLIER:
        told["default"] = default
    return told


def _option(field: dataclasses.Field[Any], hint: Any) -> Schema:
    if "ref" in field.metadata:
        return _reference(field)
    if "passthrough" in field.metadata:
        return {"type": "object"}
    return type_schema(hint)


def _reference(field: dataclasses.Field[Any]) -> Schema:
    one: Schema = {"anyOf": [{"type": "string"}, {"type": "object", "required": ["type"]}]}
    if field.metadata["many"]:
        return {"anyOf": [{"type": "array", "items": one}, *one["anyOf"]]}
    default = field.metadata["default"]
    return {"anyOf": [*one["anyOf"], {"type": "null"}]} if default is None or default is MISSING else one


def type_schema(hint: Any) -> Schema:
    """What values of a type annotation look like in YAML; anything for an annotation that says nothing."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [type_schema(argument) for argument in arguments]}
    if origin is list:
        return {"type": "array", "items": type_schema(arguments[0])}
    if origin is tuple:
        return _tuple(arguments)
    if origin is dict:
        return {"type": "object", "additionalProperties": type_schema(arguments[1])}
    if hint is type(None):
        return {"type": "null"}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [member.name for member in hint]}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _dataclass(hint)
    return {"type": _SIMPLE[hint]} if hint in _SIMPLE else {}


def _tuple(arguments: tuple[Any, ...]) -> Schema:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return {"type": "array", "items": type_schema(arguments[0])}
    each = [type_schema(argument) for argument in arguments]
    return {"type": "array", "prefixItems": each, "minItems": len(each), "maxItems": len(each)}
