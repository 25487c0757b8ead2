"""What every sampler must do."""

from ponder.testing import SamplerSuite


class TestUntitled(SamplerSuite):
    type = "untitled"
    options = {"temperature": 0.8}
