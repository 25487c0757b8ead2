"""The samplers of this plugin keep what every sampler promises."""

from ponder.testing import SamplerSuite


class TestFast(SamplerSuite):
    type = "fast"
    options = {"temperature": 0.7, "top_p": 0.9}


class TestFastGreedy(SamplerSuite):
    type = "fast"
    options = {"temperature": 0.0}


class TestGenerate(SamplerSuite):
    type = "generate"
    options = {"temperature": 1.2, "top_k": 50, "batch_size": 5}
