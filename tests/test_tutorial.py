"""The tutorial's own reward, as it stands there."""

import re
from pathlib import Path

import pytest

from ponder import Completion, Example
from ponder.plugins import load_registry

TUTORIAL = (Path(__file__).parents[1] / "docs" / "tutorial.md").read_text(encoding="utf-8")


@pytest.fixture
def politeness(tmp_path):
    (code,) = re.findall(r"```python\n# politeness\.py\n(.*?)```", TUTORIAL, re.DOTALL)
    path = tmp_path / "politeness.py"
    path.write_text(code)
    registry = load_registry([path])
    assert not registry.broken
    component = registry.find("reward", "politeness")
    return component.make(component.config())


@pytest.mark.parametrize(("text", "score"), [("2, thank you.", 1.0), ("2", 0.0), ("", None)])
def test_the_tutorials_reward_scores_as_its_cases_say(politeness, text, score):
    assert f'(QUESTION, "{text}", {score})' in TUTORIAL
    assert politeness(Example("What is 1 + 1?", "2"), Completion(text)) == score


def test_every_command_of_the_tutorial_is_one(capsys):
    from ponder.cli import VERBS

    assert set(re.findall(r"^ponder (\w+)|`ponder (\w+)", TUTORIAL, re.MULTILINE)) <= {
        pair for verb in VERBS for pair in ((verb, ""), ("", verb))
    }
