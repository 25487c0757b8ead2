import subprocess
import sys

import pytest

import ponder_rewards
from ponder import Completion, Example, Rollout
from ponder.plugins import Registry
from ponder.rubric import Limits, NamedReward, Rubric


def registry() -> Registry:
    registry = Registry()
    registry.register(ponder_rewards, "rewards")
    return registry


@pytest.mark.parametrize("name", ["accuracy", "format", "language_consistency"])
def test_every_reward_is_offered_and_built_from_its_defaults(name: str) -> None:
    component = registry().find("reward", name)
    value = component.make(component.config())(Example("q", "4"), Completion("<think>four</think><answer>4</answer>"))
    assert value == 1.0


def test_only_accuracy_needs_answers() -> None:
    found = {offer.component.name for offer in registry().all() if offer.component.config().needs_answer}
    assert found == {"accuracy"}


def test_importing_the_plugin_loads_nothing_heavy() -> None:
    program = "import sys, ponder_rewards; sys.exit(bool({'math_verify', 'sympy', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_first_stage_of_r1_adds_the_three_rewards_up() -> None:
    components = [registry().find("reward", name) for name in ("accuracy", "format", "language_consistency")]
    rewards = [NamedReward(found.name, 1.0, found.make(found.config()), found.config()) for found in components]
    texts = [
        "<think>" + "word " * 18 + "因此 答案</think> <answer>4</answer>",
        "<think>five</think> <answer>5</answer>",
        "so 所以 <answer>4</answer>",
    ]
    with Rubric(rewards, limits=Limits(workers=1)) as rubric:
        scores = rubric.score([Rollout(Example("q", "4"), Completion(text), 0) for text in texts])
    assert [score.total for score in scores] == [2.9, 2.0, 1.5]
