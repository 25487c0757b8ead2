"""What the tests of the run machinery share: a registry with toy components, and a recipe of them in a temporary directory."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

from ponder.plugins import Registry, load_plugin_file
from ponder.progress import Display
from ponder.recipe import Recipe, load_recipe
from ponder.run import RunOutcome, run_recipe

TOY_PLUGIN = Path(__file__).parent.parent / "data" / "toy_plugin.py"

TWO_STAGES = """
name: toy
policies:
  base: {type: toy, value: 2.0}
stages:
  first: {type: count, policy: base}
  second: {type: collect, policy: first}
"""


def toy_registry(version: str = "1") -> Registry:
    """A registry with the toy components alone."""
    registry = Registry()
    registry.register(load_plugin_file(TOY_PLUGIN), "toy", distribution="ponder-toy", version=version)
    assert not registry.broken
    return registry


@dataclass
class Laboratory:
    """Runs recipes of toy components in one directory."""

    directory: Path
    plugin: ModuleType
    recipe_text: str = TWO_STAGES
    registry: Registry = field(default_factory=toy_registry)
    screen: io.StringIO = field(default_factory=io.StringIO)

    @property
    def runs(self) -> Path:
        return self.directory / "runs"

    @property
    def output(self) -> str:
        return self.screen.getvalue()

    @property
    def events(self) -> list[str]:
        events: list[str] = self.plugin.events
        return events

    @property
    def calls(self) -> list[tuple[object, ...]]:
        calls: list[tuple[object, ...]] = self.plugin.calls
        return calls

    def recipe(self, *overrides: str) -> Recipe:
        path = self.directory / "toy.yaml"
        path.write_text(self.recipe_text)
        return load_recipe(path, overrides, self.registry)

    def run(self, *overrides: str, until: str | None = None, jobs: int = 1) -> RunOutcome:
        return self.execute(self.recipe(*overrides), until, jobs)

    def execute(self, recipe: Recipe, until: str | None = None, jobs: int = 1) -> RunOutcome:
        self.events.clear()
        self.calls.clear()
        self.screen = io.StringIO()
        return run_recipe(recipe, self.registry, self.runs, Display(self.screen), until=until, jobs=jobs)

    def steps(self) -> list[str]:
        """The steps done in the last run, as "first 0"."""
        return [event for event in self.events if event[-1].isdigit()]

    def outputs(self, recipe: str = "toy") -> dict[str, bytes]:
        """Everything published that two equal runs have in common, byte for byte."""
        return {
            f"{stage.name}/{path.relative_to(stage)}": path.read_bytes()
            for stage in sorted((self.runs / recipe).iterdir())
            if stage.is_dir()
            for path in sorted(stage.rglob("*"))
            if path.is_file() and path.name != "timings.jsonl"
        }


@pytest.fixture
def laboratory(tmp_path: Path) -> Laboratory:
    plugin = load_plugin_file(TOY_PLUGIN)
    plugin.events.clear()
    plugin.calls.clear()
    return Laboratory(tmp_path, plugin)


@pytest.fixture
def another_laboratory(tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    return Laboratory(tmp_path_factory.mktemp("another"), load_plugin_file(TOY_PLUGIN))


@pytest.fixture
def in_a_child() -> Callable[[Callable[[], int]], int]:
    """Runs an action in a forked process: the small number it returns, or minus the signal that killed it."""
    return _in_a_child


def _in_a_child(action: Callable[[], int]) -> int:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        result = -1
        try:
            result = action()
        finally:
            os.write(writing, f"{result:5d}".encode())
            os._exit(0)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        # A killed process may leave children that hold the pipe open.
        return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else int(pipe.read())
