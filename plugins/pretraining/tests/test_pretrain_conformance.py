"""The stage of this plugin keeps what every stage promises."""

from ponder.testing import StageSuite


class TestPretrain(StageSuite):
    type = "pretrain"
    options = {"tokens": 2048, "batch_tokens": 512}
