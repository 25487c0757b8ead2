import multiprocessing
from typing import ClassVar

import pytest

from brevity_reward import Brevity, BrevityConfig, ponder_rewards
from ponder import Completion, Example
from ponder.testing import RewardSuite

EXAMPLE = Example(prompt="1 + 1 =", answer="2")


def score(text: str, max_chars: int = 10) -> float | None:
    return Brevity(BrevityConfig(max_chars=max_chars))(EXAMPLE, Completion(text))


def test_a_completion_within_the_limit_scores_one():
    assert score("x" * 10) == 1.0


def test_twice_the_limit_scores_one_half():
    assert score("x" * 20) == 0.5


def test_an_empty_completion_abstains():
    assert score("") is None


def test_a_limit_below_one_is_refused():
    with pytest.raises(ValueError, match="max_chars must be at least 1"):
        BrevityConfig(max_chars=0)


def test_the_hook_offers_the_reward_under_its_name():
    (component,) = ponder_rewards()
    assert component.name == "brevity"
    assert component.make(BrevityConfig())(EXAMPLE, Completion("short")) == 1.0


def test_the_reward_can_be_sent_to_a_worker_process():
    queue = multiprocessing.SimpleQueue()
    queue.put(Brevity(BrevityConfig()))
    assert queue.get()(EXAMPLE, Completion("short")) == 1.0


class TestBrevity(RewardSuite):
    type = "brevity"
    options: ClassVar = {"max_chars": 10}
    bounds = (0.0, 1.0)
    cases = ((EXAMPLE, "x" * 10, 1.0), (EXAMPLE, "x" * 20, 0.5), (EXAMPLE, "", None))
