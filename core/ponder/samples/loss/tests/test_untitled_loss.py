"""What every loss must do."""

from ponder.testing import LossSuite


class TestUntitled(LossSuite):
    type = "untitled"
