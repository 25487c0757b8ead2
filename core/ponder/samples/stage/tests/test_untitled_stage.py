"""What every stage must do, and what this one keeps of twelve sums."""

from ponder.testing import StageSuite


class TestUntitled(StageSuite):
    type = "untitled"
    options = {"max_chars": 14}

    def test_it_keeps_the_short_questions(self) -> None:
        metrics = self.checked_stage(self.run()).result.metrics
        assert (metrics["kept"], metrics["removed"]) == (5, 7)
