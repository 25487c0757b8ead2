"""Fixtures for the tests of plugins, found by pytest wherever ponder is installed. What they need is imported in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ponder.context import FinishedStage
    from ponder.plugins import Registry


@pytest.fixture
def registry() -> Registry:
    """A registry of what is installed; a test may add to it with `registry.register(module, "name")`."""
    from ponder.plugins import load_registry

    return load_registry()


@pytest.fixture
def run_recipe(registry: Registry, tmp_path: Path) -> Callable[..., Mapping[str, FinishedStage]]:
    """Runs a recipe that is given as text: `run_recipe(text, "stages.reason.steps=2")["reason"].result.metrics`.

    `plugins` are modules with hooks that are not installed. The recipe's files are looked for in `tmp_path`, and its runs
    are in `tmp_path / "runs"`.
    """

    def run(text: str, *overrides: str, plugins: Mapping[str, Any] | None = None) -> Mapping[str, FinishedStage]:
        import textwrap

        from ponder import recipe, run
        from ponder.progress import Display

        for name, plugin in (plugins or {}).items():
            registry.register(plugin, name)
        path = tmp_path / "recipe.yaml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        loaded = recipe.load_recipe(path, overrides, registry)
        outcome = run.run_recipe(loaded, registry, tmp_path / "runs", Display())
        return {stage.name: stage for stage in outcome.stages}

    return run
