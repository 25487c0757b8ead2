"""Keys of another library's dataclass, read without importing it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ponder.errors import InputError
from ponder.foreign_options import passthrough_keys

SITE = Path(__file__).parent.parent / "data" / "site"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A directory of modules to write into, with the fake library beside it."""
    monkeypatch.syspath_prepend(str(SITE))
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_inherited_and_re_exported_fields_are_found_without_an_import(site: Path) -> None:
    assert passthrough_keys("foreign_library:TrainerOptions") == {"output_dir", "steps", "learning_rate", "warmup"}
    assert "foreign_library" not in sys.modules


def test_trls_options_are_read_without_torch() -> None:
    before = "torch" in sys.modules
    keys = passthrough_keys("trl:GRPOConfig")
    assert {"beta", "num_generations", "learning_rate", "max_grad_norm"} < keys
    assert ("torch" in sys.modules) == before


def test_a_name_imported_under_another_is_followed(site: Path) -> None:
    (site / "renames_it.py").write_text("from foreign_library.base import BaseOptions as Renamed\n")
    assert passthrough_keys("renames_it:Renamed") == {"output_dir", "steps"}


def test_what_the_source_does_not_tell_is_imported(site: Path) -> None:
    source = "import dataclasses\nMade = dataclasses.make_dataclass('Made', [('size', int, 3)])\n"
    (site / "makes_it.py").write_text(source)
    assert passthrough_keys("makes_it:Made") == {"size"}


def test_a_base_that_is_an_expression_is_imported(site: Path) -> None:
    source = (
        "import dataclasses\n"
        "@dataclasses.dataclass\n"
        "class Child(dataclasses.make_dataclass('Made', [('size', int, 3)])):\n"
        "    more: int = 1\n"
    )
    (site / "expresses_it.py").write_text(source)
    assert passthrough_keys("expresses_it:Child") == {"size", "more"}


def test_a_circle_of_re_exports_ends_with_an_import_error(site: Path) -> None:
    (site / "circle_a.py").write_text("from circle_b import Name\n")
    (site / "circle_b.py").write_text("from circle_a import Name\n")
    with pytest.raises(InputError, match=r"circle_a\.Name, which cannot be imported"):
        passthrough_keys("circle_a:Name")


def test_what_is_no_dataclass_is_an_input_error(site: Path) -> None:
    (site / "plain_value.py").write_text("Name = 3\n")
    with pytest.raises(InputError, match=r"plain_value\.Name, which is not a dataclass"):
        passthrough_keys("plain_value:Name")


def test_a_library_that_is_not_installed_is_an_input_error() -> None:
    with pytest.raises(InputError, match="which cannot be imported: No module named 'no_such_library'"):
        passthrough_keys("no_such_library:Name")
