from __future__ import annotations

import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.rollouts import decode_rollouts, encode_rollouts
from ponder.rubric import Score
from ponder.types import Completion, Example, KeptTokens, Rollout, Routing

EXAMPLE = Example([{"role": "user", "content": "一加一?"}], answer="2", metadata={"terms": 2, "shape": (1, 2)})


def rollout(logprobs: tuple[float, ...] = (), tokens: tuple[int, ...] = (), text: str = "2") -> Rollout:
    return Rollout(EXAMPLE, Completion(text, tokens, logprobs, "length", 7), group=3)


def there_and_back(*rollouts: Rollout) -> list[Rollout]:
    scores = [Score(1.5, {"accuracy": 1.0, "language": None}, {"accuracy": "ok", "language": "timeout"})] * len(
        rollouts
    )
    value = json.loads(json.dumps(encode_rollouts(rollouts, scores)))
    decoded, decoded_scores = decode_rollouts(value)
    assert decoded_scores == scores
    return decoded


def test_everything_about_a_rollout_comes_back() -> None:
    decoded = there_and_back(rollout((-0.5, -1.25), (17, 151_643), "<think>\n二</think>"))[0]

    assert decoded.completion == Completion("<think>\n二</think>", (17, 151_643), (-0.5, -1.25), "length", 7)
    assert decoded.group == 3
    assert (decoded.example.prompt, decoded.example.answer) == (EXAMPLE.prompt, "2")
    assert decoded.example.metadata == {"terms": 2, "shape": [1, 2]}


def test_rollouts_of_one_prompt_share_its_example() -> None:
    first, second = there_and_back(rollout(text="2"), rollout(text="3"))

    assert first.example is second.example


@given(st.lists(st.floats(allow_nan=False), max_size=5))
def test_any_log_probabilities_come_back_to_the_bit(logprobs: list[float]) -> None:
    found = there_and_back(rollout(tuple(logprobs)))[0].completion.logprobs

    assert struct.pack(f"{len(logprobs)}d", *found) == struct.pack(f"{len(logprobs)}d", *logprobs)


def test_float32_log_probabilities_take_four_bytes_each() -> None:
    exact = struct.unpack("f", struct.pack("f", -0.1))[0]
    encoded = encode_rollouts([rollout((exact,) * 300)], [])["rollouts"][0]["logprobs"]

    assert len(encoded) == 2 + 1600


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_comes_back(value: float) -> None:
    found = there_and_back(rollout((value,)))[0].completion.logprobs[0]

    assert found == value or (math.isnan(found) and math.isnan(value))


def test_metadata_that_json_has_no_form_for_becomes_text() -> None:
    odd = Rollout(Example("1+1?", metadata={"when": {1}, "how": complex(1, 2)}), Completion("2"), 0)

    assert there_and_back(odd)[0].example.metadata == {"when": [1], "how": "(1+2j)"}


def test_what_was_recorded_for_training_comes_back_exactly() -> None:
    routing = Routing(bytes(range(12)), layers=3, chosen=2, width=1)
    kept = KeptTokens((2, 1), (7, 151_643, 9), (-0.1, 0.0))
    recorded = Rollout(EXAMPLE, Completion("2", (7, 9), (-0.5, -1.0), "stop", 1, routing, kept), 0)
    plain = rollout()

    assert [decoded.completion.routing for decoded in there_and_back(recorded, plain)] == [routing, None]
    assert [decoded.completion.kept for decoded in there_and_back(recorded, plain)] == [kept, None]
