"""The JSON schema of recipes."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from ponder import Component, hookimpl, passthrough, ref, refs
from ponder.plugins import Registry
from ponder.schema import recipe_schema, type_schema


@dataclass(frozen=True, kw_only=True)
class Inner:
    """Nested."""

    depth: int = 1
    """How deep."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """A stage of a test."""

    policy: str = ref("policy")
    """What is trained."""
    rewards: list[str] = refs("reward", default=[])
    mode: Literal["slow", "fast"] = "slow"
    """How."""
    inner: Inner | None = None
    extra: dict[str, Any] = passthrough("package:Options")
    sizes: list[int] = field(default_factory=list)


class Plugin:
    @hookimpl
    def ponder_stages(self):
        yield Component("toy", Config, lambda config: None)


@pytest.fixture
def schema():
    registry = Registry()
    registry.register(Plugin(), "toy")
    return recipe_schema(registry)


def test_an_options_text_default_and_choices_are_in_the_schema(schema):
    options = schema["$defs"]["stage.toy"]["properties"]
    assert options["mode"] == {"enum": ["slow", "fast"], "description": "How.", "default": "slow"}
    assert options["policy"]["description"] == "What is trained."
    assert options["type"] == {"const": "toy"}


def test_an_unknown_option_of_a_component_is_not_allowed(schema):
    assert schema["$defs"]["stage.toy"]["additionalProperties"] is False


def test_references_may_be_names_or_inline_entries(schema):
    options = schema["$defs"]["stage.toy"]["properties"]
    assert {"type": "string"} in options["policy"]["anyOf"]
    assert options["rewards"]["anyOf"][0]["type"] == "array"


def test_nested_options_have_texts_of_their_own(schema):
    inner = schema["$defs"]["stage.toy"]["properties"]["inner"]["anyOf"][0]
    assert inner["properties"]["depth"] == {"type": "integer", "description": "How deep.", "default": 1}


def test_the_type_chooses_the_options(schema):
    (choice,) = schema["properties"]["stages"]["additionalProperties"]["allOf"]
    assert choice["if"]["properties"]["type"] == {"const": "toy"}
    assert choice["then"] == {"$ref": "#/$defs/stage.toy"}


def test_sections_without_components_are_still_sections(schema):
    assert schema["properties"]["policies"]["additionalProperties"]["allOf"] == []


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (tuple[float, ...], {"type": "array", "items": {"type": "number"}}),
        (
            tuple[int, str],
            {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2},
        ),
        (dict[str, bool], {"type": "object", "additionalProperties": {"type": "boolean"}}),
        (Path, {"type": "string"}),
        (Any, {}),
    ],
)
def test_types_are_those_of_json(hint, expected):
    assert type_schema(hint) == expected
