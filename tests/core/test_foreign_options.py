"""Keys and types of another library's dataclass, read without importing it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from ponder.errors import InputError
from ponder.foreign_options import passthrough_faults, passthrough_fields

SITE = Path(__file__).parent.parent / "data" / "site"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A directory of modules to write into, with the fake library beside it."""
    monkeypatch.syspath_prepend(str(SITE))
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_inherited_and_re_exported_fields_are_found_without_an_import(site: Path) -> None:
    assert set(passthrough_fields("foreign_library:TrainerOptions")) == {
        "output_dir",
        "steps",
        "learning_rate",
        "warmup",
    }
    assert "foreign_library" not in sys.modules


def test_trls_options_are_read_without_torch() -> None:
    before = "torch" in sys.modules
    keys = set(passthrough_fields("trl:GRPOConfig"))
    assert {"beta", "num_generations", "learning_rate", "max_grad_norm"} < keys
    assert ("torch" in sys.modules) == before


def test_a_name_imported_under_another_is_followed(site: Path) -> None:
    (site / "renames_it.py").write_text("from foreign_library.base import BaseOptions as Renamed\n")
    assert set(passthrough_fields("renames_it:Renamed")) == {"output_dir", "steps"}


def test_what_the_source_does_not_tell_is_imported(site: Path) -> None:
    source = "import dataclasses\nMade = dataclasses.make_dataclass('Made', [('size', int, 3)])\n"
    (site / "makes_it.py").write_text(source)
    assert set(passthrough_fields("makes_it:Made")) == {"size"}


def test_a_base_that_is_an_expression_is_imported(site: Path) -> None:
    source = (
        "import dataclasses\n"
        "@dataclasses.dataclass\n"
        "class Child(dataclasses.make_dataclass('Made', [('size', int, 3)])):\n"
        "    more: int = 1\n"
    )
    (site / "expresses_it.py").write_text(source)
    assert set(passthrough_fields("expresses_it:Child")) == {"size", "more"}


def test_a_circle_of_re_exports_ends_with_an_import_error(site: Path) -> None:
    (site / "circle_a.py").write_text("from circle_b import Name\n")
    (site / "circle_b.py").write_text("from circle_a import Name\n")
    with pytest.raises(InputError, match=r"circle_a\.Name, which cannot be imported"):
        passthrough_fields("circle_a:Name")


def test_what_is_no_dataclass_is_an_input_error(site: Path) -> None:
    (site / "plain_value.py").write_text("Name = 3\n")
    with pytest.raises(InputError, match=r"plain_value\.Name, which is not a dataclass"):
        passthrough_fields("plain_value:Name")


def test_a_library_that_is_not_installed_is_an_input_error() -> None:
    with pytest.raises(InputError, match="which cannot be imported: No module named 'no_such_library'"):
        passthrough_fields("no_such_library:Name")


TYPED = """
import dataclasses, typing
from typing import Any, List, Literal, Optional, Union

@dataclasses.dataclass
class Base:
    steps: str = ""

@dataclasses.dataclass
class Typed(Base):
    steps: int = 1
    rate: float = 0.1
    is_on: bool = False
    name: Optional[str] = None
    bias: Literal["none", "all"] = "none"
    limit: "int | None" = None
    layers: typing.Optional[Union[List[int], int]] = None
    loss: str = dataclasses.field(default="nll", metadata={"help": "Its kind.", "choices": ["nll", "dft"]})
    backend: str | None = dataclasses.field(default=None, metadata={"choices": ["gloo"]})
    computed: str = dataclasses.field(default="a", metadata={"choices": sorted("ab")})
    table: dict[str, int] | None = None
    anything: Any = None
"""


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("steps", 3),
        ("rate", 1),
        ("rate", 0.5),
        ("is_on", True),
        ("name", None),
        ("bias", "all"),
        ("limit", None),
        ("limit", 2),
        ("layers", [1, 2]),
        ("layers", 1),
        ("loss", "dft"),
        ("backend", None),
        ("computed", "c"),
        ("table", 3),
        ("anything", object()),
    ],
)
def test_values_that_the_annotation_allows_have_no_fault(site: Path, key: str, value: Any) -> None:
    (site / "typed_options.py").write_text(TYPED)
    assert passthrough_faults("typed_options:Typed", {key: value}) == {}


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("steps", "3", "expects int, not '3'"),
        ("steps", True, "expects int, not True"),
        ("rate", "abc", "expects float, not 'abc'"),
        ("is_on", 1, "expects bool, not 1"),
        ("name", 3, "expects str | null, not 3"),
        ("bias", "some", "expects none | all, not 'some'"),
        ("limit", 0.5, "expects int | null, not 0.5"),
        ("layers", ["a"], "expects list[int] | int | null, not ['a']"),
        ("loss", "mean", "expects nll | dft, not 'mean'"),
        ("loss", None, "expects nll | dft, not None"),
        ("backend", "smoke", "expects gloo | null, not 'smoke'"),
    ],
)
def test_a_value_that_the_annotation_does_not_allow_is_told_with_what_it_does(
    site: Path, key: str, value: Any, fault: str
) -> None:
    (site / "typed_options.py").write_text(TYPED)
    assert passthrough_faults("typed_options:Typed", {key: value}) == {key: fault}


def test_a_type_that_the_caller_knows_takes_the_place_of_the_annotation(site: Path) -> None:
    (site / "typed_options.py").write_text(TYPED)
    types = {"name": Literal["a", "b"]}
    faults = passthrough_faults("typed_options:Typed", {"name": "c", "steps": "many"}, types=types)
    assert faults == {"name": "expects a | b, not 'c'", "steps": "expects int, not 'many'"}


def test_values_of_what_the_source_does_not_tell_are_not_checked(site: Path) -> None:
    (site / "makes_more.py").write_text(
        "import dataclasses\nMade = dataclasses.make_dataclass('Made', [('size', int, 3)])\n"
    )
    assert passthrough_faults("makes_more:Made", {"size": "large"}) == {}
