"""What every task must do, and the first problem."""

from ponder import Example
from ponder.testing import TaskSuite


class TestUntitled(TaskSuite):
    type = "untitled"
    options = {"size": 1, "largest": 0}
    cases = (Example([{"role": "user", "content": "What is 0 + 0?"}], "0", {"difficulty": 1}),)


class TestUntitledWithDefaults(TaskSuite):
    type = "untitled"
