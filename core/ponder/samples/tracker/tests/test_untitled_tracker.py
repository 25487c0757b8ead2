"""What every tracker must do."""

from ponder.testing import TrackerSuite


class TestUntitled(TrackerSuite):
    type = "untitled"
