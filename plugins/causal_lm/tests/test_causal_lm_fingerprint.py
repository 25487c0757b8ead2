"""What is at `path` counts by its content where it is on this machine, and by its name where it is not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ponder.fingerprint import identify_stages
from ponder.plugins import load_registry
from ponder.recipe import load_recipe
from ponder_causal_lm import CausalLMConfig


@pytest.fixture
def fingerprint(tmp_path, monkeypatch):
    """Of a stage that starts from what is at a path, in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    recipe, registry = tmp_path / "recipe.yaml", load_registry([], disabled=())

    def made(path: object) -> str:
        recipe.write_text(
            f"policies: {{base: {{type: causal_lm, path: {json.dumps(str(path))}}}}}\n"
            "tasks: {sums: {type: jsonl, path: sums.jsonl}}\n"
            "stages: {taught: {type: sft, policy: base, task: sums}}\n"
        )
        (tmp_path / "sums.jsonl").write_text('{"prompt": "1 + 1", "answer": "2"}\n')
        return identify_stages(load_recipe(recipe, (), registry), registry)["taught"].fingerprint

    return made


def directory(path: Path, **files: str) -> Path:
    path.mkdir()
    for name, content in files.items():
        (path / name).write_text(content)
    return path


def test_another_checkpoint_behind_the_same_path_changes_the_fingerprint(fingerprint, tmp_path):
    model = directory(tmp_path / "model", weights="first")
    before = fingerprint(model)
    assert fingerprint(model) == before
    (model / "weights").write_text("other")
    assert fingerprint(model) != before


def test_a_checkpoint_that_is_only_touched_changes_nothing(fingerprint, tmp_path):
    model = directory(tmp_path / "model", weights="first")
    before = fingerprint(model)
    os.utime(model / "weights", (1, 1))
    assert fingerprint(model) == before


def test_another_gguf_file_behind_the_same_path_changes_the_fingerprint(fingerprint, tmp_path):
    (tmp_path / "model.gguf").write_text("first")
    before = fingerprint(tmp_path / "model.gguf")
    (tmp_path / "model.gguf").write_text("other")
    assert fingerprint(tmp_path / "model.gguf") != before


def test_the_model_below_adapters_that_are_alone_counts_too(fingerprint, tmp_path):
    below = directory(tmp_path / "below", weights="first")
    adapters = directory(tmp_path / "adapters")
    (adapters / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(below)}))
    before = fingerprint(adapters)
    (below / "weights").write_text("other")
    assert fingerprint(adapters) != before


@pytest.mark.parametrize("name", ["nobody/nothing", "x" * 5000])
def test_a_name_counts_as_it_is_written(fingerprint, name):
    assert fingerprint(name) == fingerprint(name) != fingerprint("nobody/other")


@pytest.mark.parametrize("content", ["[]", "{", '{"base_model_name_or_path": null}'])
def test_adapters_that_say_nothing_of_their_model_are_read_from_alone(tmp_path, content):
    (tmp_path / "adapter_config.json").write_text(content)
    assert CausalLMConfig(path=str(tmp_path)).read_from == (tmp_path,)
