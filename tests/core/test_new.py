"""`ponder new`: each kind's package, installed by fake metadata, passes its own tests; bad names and existing folders are refused."""

from __future__ import annotations

import ast
import builtins
import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from ponder import cli

KINDS = ("reward", "task", "loss", "stage", "tracker", "sampler", "policy")


AWKWARD = [
    *((kind, "component") for kind in KINDS),
    *((kind, f"qa_{kind}") for kind in KINDS),
    *((kind, "value_error") for kind in KINDS),
    *(
        ("reward", "none"),
        ("reward", "reward"),
        ("task", "example"),
        ("loss", "loss_output"),
        ("stage", "stage_result"),
    ),
    *(("tracker", "path"), ("sampler", "completion"), ("policy", "llama")),
]
"""Names that end with their kind, or whose classes would hide what the package imports or Python has."""


def write(kind: str, name: str, into: Path) -> Path:
    assert cli.main(["new", kind, name, "--into", str(into)]) == 0
    return into / (name if name.endswith(f"_{kind}") else f"{name}_{kind}")


def install(folder: Path, site: Path) -> None:
    """What pip would write, so that nothing is downloaded or built."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    information = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    information.mkdir(parents=True)
    requires = "".join(f"Requires-Dist: {needed}\n" for needed in project["dependencies"])
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n{requires}"
    )
    points = "".join(f"{name} = {value}\n" for name, value in project["entry-points"]["ponder"].items())
    (information / "entry_points.txt").write_text(f"[ponder]\n{points}")
    for path in folder.glob(f"{folder.name}*"):
        (site / path.name).symlink_to(path)


@pytest.mark.slow
def test_every_kinds_package_passes_its_own_tests_and_checks_as_written(tmp_path: Path) -> None:
    assert_sound([(kind, "fresh") for kind in KINDS], tmp_path)


@pytest.mark.slow
def test_packages_of_awkward_names_pass_their_own_tests_as_written(tmp_path: Path) -> None:
    assert_sound([("reward", "component"), ("reward", "none"), ("task", "example"), ("task", "qa_task")], tmp_path)
    assert_sound([("loss", "loss_output"), ("stage", "stage_result"), ("policy", "llama")], tmp_path / "heavy")


def assert_sound(names: Sequence[tuple[str, str]], tmp_path: Path) -> None:
    site = tmp_path / "site"
    for kind, name in names:
        install(write(kind, name, tmp_path / "work"), site)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(tmp_path / "work")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "failed" not in done.stdout


@pytest.mark.parametrize(("kind", "name"), AWKWARD)
def test_a_class_of_an_awkward_name_hides_nothing(kind: str, name: str, tmp_path: Path) -> None:
    for path in write(kind, name, tmp_path).rglob("*.py"):
        tree = ast.parse(path.read_text())
        made = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
        imported = [alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]
        assert len(imported) == len(set(imported))
        assert not made & {*imported, *dir(builtins)}


@pytest.mark.parametrize(("kind", "name"), AWKWARD)
def test_the_entry_point_names_the_module_that_is_written(kind: str, name: str, tmp_path: Path) -> None:
    folder = write(kind, name, tmp_path)
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["ponder"] == {name: folder.name}
    assert project["name"] == folder.name.replace("_", "-")
    assert (folder / f"{folder.name}.py").is_file() or (folder / folder.name / "__init__.py").is_file()


def test_the_next_steps_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write("reward", "fresh", tmp_path)
    output = capsys.readouterr().out
    assert f"pip install -e {folder}" in output
    assert "ponder plugins check fresh-reward" in output
    assert {path.name for path in folder.iterdir()} == {"pyproject.toml", "README.md", "fresh_reward.py", "tests"}


def test_no_sample_name_is_left(tmp_path: Path) -> None:
    for kind in KINDS:
        for path in write(kind, "fresh", tmp_path).rglob("*"):
            assert "untitled" not in path.name.lower()
            assert path.is_dir() or "untitled" not in path.read_text().lower()


def test_a_name_that_ends_with_the_kind_does_not_repeat_it(tmp_path: Path) -> None:
    assert cli.main(["new", "reward", "fresh_reward", "--into", str(tmp_path)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["fresh_reward"]


def test_what_exists_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fresh_reward").mkdir()
    assert cli.main(["new", "reward", "fresh", "--into", str(tmp_path)]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err
    assert list((tmp_path / "fresh_reward").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("My-Reward", "how about 'my_reward'?"),
        ("../up", "will not do as a name"),
        ("2fast", "will not do as a name"),
        ("", "will not do as a name"),
        ("a" * 41, "will not do as a name"),
        ("class", "is a word of Python"),
        ("true", "'true' is no text where a recipe names it"),
        ("null", "'null' is no text where a recipe names it"),
        ("accuracy", "there is a reward 'accuracy' already"),
        ("brevity", "there is a reward 'brevity' already"),
    ],
)
def test_a_name_that_will_not_do_is_refused(
    name: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["new", "reward", name, "--into", str(tmp_path)]) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written_the_user_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    assert cli.main(["new", "reward", "fresh", "--into", str(tmp_path / "file")]) == 74
    assert "choose another place with --into DIR" in capsys.readouterr().err
