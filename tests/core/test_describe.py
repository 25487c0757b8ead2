"""Options as tables, and the page of all components."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest

from ponder import EARLIER, RewardConfig, passthrough, ref, refs
from ponder.describe import field_texts, first_line, hooks, options, type_text
from ponder.offers import HOOKS

DATA = Path(__file__).parent.parent / "data"


class Shade(Enum):
    DARK = 1
    LIGHT = 2


@dataclass(frozen=True, kw_only=True)
class InnerConfig:
    """What is inside."""

    depth: int = 2
    """How deep."""


@dataclass(frozen=True, kw_only=True)
class OuterConfig(RewardConfig):
    """Everything an option can be.

    And more about it.
    """

    path: Path
    """Where
    it is."""
    mode: Literal["a", "b"] = "a"
    """Which."""
    shade: Shade = Shade.DARK
    plain: int = 1
    inner: InnerConfig | None = None
    """Nested."""
    pair: tuple[float, float] = (0.9, 0.95)
    words: list[str] = field(default_factory=lambda: ["x"])
    table: dict[str, Any] = field(default_factory=dict)
    empty: str = ""
    policy: str = ref("policy")
    rewards: list[str] = refs("reward", default=["accuracy"])
    sampler: str = ref("sampler", default={"type": "fast", "top_p": 1.0})
    earlier: list[str] = refs("stage", default=EARLIER)
    teacher: str | None = ref("policy", default=None)
    trainer: dict[str, Any] = passthrough("trl:GRPOConfig")
    derived: int = field(default=0, init=False)


ROWS = {option.name: option for option in options(OuterConfig)}


def test_options_stand_in_the_order_of_the_fields_inherited_ones_first() -> None:
    assert list(ROWS)[:7] == ["weight", "tasks", "confinement", "path", "mode", "shade", "plain"]


def test_fields_that_cannot_be_given_are_left_out() -> None:
    assert "derived" not in ROWS


def test_the_options_of_a_nested_dataclass_follow_it() -> None:
    assert ROWS["inner.depth"].text == "How deep."
    assert list(ROWS).index("inner.depth") == list(ROWS).index("inner") + 1


@pytest.mark.parametrize(
    ("name", "type_", "default"),
    [
        ("weight", "float", "1.0"),
        ("path", "path", "required"),
        ("mode", "a | b", "a"),
        ("shade", "DARK | LIGHT", "DARK"),
        ("plain", "int", "1"),
        ("inner", "mapping | null", "null"),
        ("pair", "[float, float]", "[0.9, 0.95]"),
        ("words", "list[str]", "[x]"),
        ("table", "dict[str, any]", "{}"),
        ("empty", "str", "''"),
        ("policy", "policy or stage", "required"),
        ("rewards", "list of reward", "[accuracy]"),
        ("sampler", "sampler", "{type: fast, top_p: 1.0}"),
        ("earlier", "list of stage", "every earlier stage"),
        ("teacher", "policy or stage", "null"),
        ("trainer", "options of trl.GRPOConfig", "{}"),
    ],
)
def test_types_and_defaults_read_as_a_recipe_would_write_them(name: str, type_: str, default: str) -> None:
    assert (ROWS[name].type, ROWS[name].default) == (type_, default)


def test_the_text_of_an_option_is_the_string_under_its_field_on_one_line() -> None:
    assert ROWS["path"].text == "Where it is."
    assert ROWS["mode"].text == "Which."


def test_an_option_without_a_string_under_it_has_no_text() -> None:
    assert ROWS["plain"].text == ""


def test_an_inherited_option_keeps_its_text() -> None:
    assert ROWS["weight"].text == "What the score is multiplied by in the sum."


def test_a_subclass_may_say_more_about_an_inherited_option() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Heavier(RewardConfig):
        weight: float = 2.0
        """Twice."""

    assert field_texts(Heavier)["weight"] == "Twice."


def test_a_class_without_source_has_options_without_texts() -> None:
    made = dataclasses.make_dataclass("Made", [("size", int, field(default=3))], frozen=True, kw_only=True)
    assert [(option.name, option.default, option.text) for option in options(made)] == [("size", "3", "")]


def test_the_first_line_is_that_of_the_docstring() -> None:
    assert first_line(OuterConfig) == "Everything an option can be."


def test_a_docstring_that_dataclasses_made_up_is_none() -> None:
    assert first_line(dataclasses.make_dataclass("Made", [])) == ""


@pytest.mark.parametrize(
    ("hint", "text"),
    [(Any, "any"), (list[list[int]], "list[list[int]]"), (int | str, "int | str"), (tuple[int, ...], "[int, ...]")],
)
def test_annotations_read_plainly(hint: Any, text: str) -> None:
    assert type_text(hint) == text


def test_every_hook_has_a_text_and_every_kind_a_hook() -> None:
    assert set(HOOKS.values()) < set(hooks())
    assert all(hook.__doc__ for hook in hooks().values())
