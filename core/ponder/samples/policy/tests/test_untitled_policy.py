"""What every policy must do."""

from ponder.testing import PolicySuite


class TestUntitled(PolicySuite):
    type = "untitled"
    options = {"hidden_size": 32}
