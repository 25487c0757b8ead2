"""The samplers of this plugin keep what every sampler promises."""

import json
import random
from collections.abc import Mapping
from itertools import count
from typing import Any

from ponder.testing import SamplerSuite
from ponder.testing.endpoints import Answer, Body, StubEndpoint, completion


class TestFast(SamplerSuite):
    type = "fast"
    options = {"temperature": 0.7, "top_p": 0.9}


class TestFastGreedy(SamplerSuite):
    type = "fast"
    options = {"temperature": 0.0}


class TestGenerate(SamplerSuite):
    type = "generate"
    options = {"temperature": 1.2, "top_k": 50, "batch_size": 5}


class TestOpenai(SamplerSuite):
    type = "openai"

    def given_options(self) -> Mapping[str, Any]:
        cache = str(self.directory() / f"replies-{next(self.shared('caches', count))}")
        return {"url": self.shared("server", _serve).url, "backoff_seconds": 0.0, "cache": cache}

    @classmethod
    def teardown_class(cls) -> None:
        cls.shared("server", _serve).__exit__()
        super().teardown_class()


def _serve() -> StubEndpoint:
    """A server that says something else for each prompt and seed, a word for each token that it may."""
    return StubEndpoint(_say).__enter__()


def _say(number: int, body: Body) -> Answer:
    words = random.Random(json.dumps([body["messages"], body["seed"]])).choices(["one", "two", "three"], k=8)
    said = words[: body["max_tokens"]]
    return completion(" ".join(said), tokens=len(said), finish_reason="stop" if len(said) == 8 else "length")
