"""What every reward must do, and the scores of a few completions."""

from ponder import Example
from ponder.testing import RewardSuite

SUM = Example("What is 1 + 1?", "2")


class TestUntitled(RewardSuite):
    type = "untitled"
    options = {"max_chars": 10}
    bounds = (0.0, 1.0)
    cases = ((SUM, "2", 1.0), (SUM, "x" * 20, 0.5), (SUM, "", None))
