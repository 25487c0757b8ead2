"""The rewards of this plugin keep what every reward promises."""

from ponder import Example
from ponder.testing import RewardSuite

SUM = Example([{"role": "user", "content": "What is 2 + 2?"}], "4")
RIGHT = "<think>Two and two make four.</think> <answer>4</answer>"


class TestFormat(RewardSuite):
    type = "format"
    bounds = (0.0, 1.0)
    cases = ((SUM, RIGHT, 1.0), (SUM, RIGHT + " and more", 0.0), (SUM, "4", 0.0))


class TestLanguageConsistency(RewardSuite):
    type = "language_consistency"
    bounds = (0.0, 1.0)
    cases = ((SUM, RIGHT, 1.0), (SUM, "<think>two 因此 答案</think>", 1 / 3))
