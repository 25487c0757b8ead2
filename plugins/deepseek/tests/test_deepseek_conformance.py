"""The policy of this plugin keeps what every policy promises."""

from ponder.testing import PolicySuite


class TestDeepseek(PolicySuite):
    type = "deepseek"
    options = {"preset": "tiny"}
