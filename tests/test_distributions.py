"""What holds for all distributions of the repository: versions, entry points, requirements, pins."""

import re
import tomllib
from importlib.metadata import distributions, entry_points
from pathlib import Path

import pytest

from ponder.cli import main

ROOT = Path(__file__).parents[1]
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
EXAMPLES = sorted(path.parent for path in ROOT.glob("examples/plugins/*/pyproject.toml"))
OURS = [ROOT, *PLUGINS]

every_plugin = pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: folder.name)
every_distribution = pytest.mark.parametrize("folder", [*OURS, *EXAMPLES], ids=lambda folder: folder.name)


def project(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def lines(name):
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def pins():
    return {normal(name): version for name, version in (line.split("==") for line in lines("constraints.txt"))}


def test_every_plugin_folder_is_a_distribution():
    folders = [path for path in ROOT.glob("plugins/*") if path.is_dir() and not path.name.startswith((".", "__"))]
    assert sorted(folders) == PLUGINS


def test_all_have_one_version():
    assert {project(folder)["version"] for folder in OURS} == {"0.1.0"}


@every_plugin
def test_a_plugin_is_named_after_its_folder(folder):
    assert project(folder)["name"] == f"ponder-{folder.name.replace('_', '-')}"
    assert project(folder)["entry-points"]["ponder"] == {folder.name: f"ponder_{folder.name}"}


@every_plugin
def test_a_plugin_needs_the_core_of_its_own_version(folder):
    assert f"ponder=={project(folder)['version']}" in project(folder)["dependencies"]


@every_plugin
def test_a_plugin_needs_no_other_plugin(folder):
    assert not [needed for needed in project(folder)["dependencies"] if normal(needed).startswith("ponder-")]


@every_plugin
def test_a_plugin_ships_its_types(folder):
    assert (folder / f"ponder_{folder.name}" / "py.typed").is_file()


@every_plugin
def test_a_plugin_has_a_readme_that_says_what_it_is(folder):
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {project(folder)['name']}")
    assert len(text.splitlines()) > 3


def test_every_plugin_is_installed_by_all():
    assert lines("all.txt") == ["-e .", *(f"-e plugins/{folder.name}" for folder in PLUGINS)]


def test_every_example_plugin_is_installed_for_development():
    assert {f"-e examples/plugins/{folder.name}" for folder in EXAMPLES} <= set(lines("dev.txt"))


@every_distribution
def test_the_licence_is_told(folder):
    assert project(folder)["license"] == "MIT"


@pytest.mark.parametrize("point", entry_points(group="ponder"), ids=lambda point: point.name)
def test_an_entry_point_is_a_module_that_offers_something(point):
    hooks = [name for name in vars(point.load()) if name.startswith("ponder_")]
    assert any(hasattr(getattr(point.load(), name), "ponder_impl") for name in hooks)


def test_every_plugin_of_the_repository_is_found():
    found = {point.name for point in entry_points(group="ponder")}
    assert {folder.name for folder in PLUGINS} <= found


def test_the_constraints_are_exact_pins_that_anyone_can_install():
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines("constraints.txt"))
    assert not {name for name in pins() if name == "ponder" or name.startswith("ponder-")}
    assert pins()["torch"] == "2.13.0"


def test_everything_that_is_required_is_pinned():
    wanted = {needed for folder in [*OURS, *EXAMPLES] for needed in project(folder)["dependencies"]}
    wanted |= {line for line in lines("dev.txt") if not line.startswith("-")}
    names = {normal(re.match(r"[A-Za-z0-9._-]+", needed).group()) for needed in wanted}
    ours = {normal(project(folder)["name"]) for folder in [*OURS, *EXAMPLES]}
    assert names - ours <= set(pins())


def test_what_is_installed_is_what_is_pinned():
    """A local build such as 2.13.0+cpu is its public version; a developer's own extras are none of our business."""
    installed = {normal(item.name): item.version.split("+")[0] for item in distributions()}
    pinned = pins()
    assert {name: version for name, version in installed.items() if pinned.get(name, version) != version} == {}


def test_the_reference_of_components_is_what_the_options_say(monkeypatch, capsys):
    """When this fails: `make docs`."""
    first_party = {point.name for point in entry_points(group="ponder")} & {folder.name for folder in PLUGINS}
    others = {point.name for point in entry_points(group="ponder")} - first_party
    monkeypatch.setenv("PONDER_DISABLE_PLUGINS", ",".join(sorted(others)))
    assert main(["plugins", "docs", str(ROOT / "docs" / "reference"), "--check"]) == 0, capsys.readouterr().out
