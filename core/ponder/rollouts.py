"""Rollouts and their scores as JSON values, exact to the bit, for a stage's journal."""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ponder.types import Completion, Example, KeptTokens, Rollout, Routing

if TYPE_CHECKING:
    from ponder.rubric import Score

JsonObject = dict[str, Any]


def encode_rollouts(rollouts: Sequence[Rollout], scores: Sequence[Score]) -> JsonObject:
    """One JSON value for `rollouts` and the score of each; an example that several rollouts share is stored once."""
    examples: dict[int, int] = {}
    unique: list[Example] = []
    for rollout in rollouts:
        if id(rollout.example) not in examples:
            examples[id(rollout.example)] = len(unique)
            unique.append(rollout.example)
    return {
        "examples": [_encode_example(example) for example in unique],
        "rollouts": [_encode_rollout(rollout, examples[id(rollout.example)]) for rollout in rollouts],
        "scores": [
            {"total": score.total, "parts": dict(score.parts), "statuses": dict(score.statuses)} for score in scores
        ],
    }


def decode_rollouts(value: JsonObject) -> tuple[list[Rollout], list[Score]]:
    """What `encode_rollouts` was given; sequences come back as tuples."""
    from ponder.rubric import Score

    examples = [_decode_example(example) for example in value["examples"]]
    rollouts = [_decode_rollout(rollout, examples) for rollout in value["rollouts"]]
    return rollouts, [Score(**score) for score in value["scores"]]


def jsonable(value: object) -> object:
    """What a task put into an example's metadata, with whatever JSON has no form for as text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "items"):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(item) for item in value]
    return str(value)


def _encode_example(example: Example) -> JsonObject:
    prompt = example.prompt if isinstance(example.prompt, str) else [dict(message) for message in example.prompt]
    return {"prompt": prompt, "answer": example.answer, "metadata": jsonable(example.metadata)}


def _decode_example(value: JsonObject) -> Example:
    return Example(value["prompt"], value["answer"], value["metadata"])


def _encode_rollout(rollout: Rollout, example: int) -> JsonObject:
    completion = rollout.completion
    return {
        "example": example,
        "group": rollout.group,
        "text": completion.text,
        "token_ids": _pack("q", completion.token_ids),
        "logprobs": _pack_floats(completion.logprobs),
        "finish_reason": completion.finish_reason,
        "policy_version": completion.policy_version,
        **({"routing": _encode_routing(completion.routing)} if completion.routing else {}),
        **({"kept": _encode_kept(completion.kept)} if completion.kept else {}),
        **({} if completion.token_count is None else {"token_count": completion.token_count}),
    }


def _encode_routing(routing: Routing) -> JsonObject:
    return {**asdict(routing), "experts": base64.b64encode(routing.experts).decode("ascii")}


def _decode_routing(value: JsonObject) -> Routing:
    return Routing(**{**value, "experts": base64.b64decode(value["experts"])})


def _encode_kept(kept: KeptTokens) -> JsonObject:
    return {
        "counts": _pack("i", kept.counts),
        "token_ids": _pack("i", kept.token_ids),
        "logprobs": _pack_floats(kept.logprobs),
    }


def _decode_kept(value: JsonObject) -> KeptTokens:
    counts, token_ids = (tuple(int(number) for number in _unpack(value[name])) for name in ("counts", "token_ids"))
    return KeptTokens(counts, token_ids, tuple(_unpack(value["logprobs"])))


def _decode_rollout(value: JsonObject, examples: Sequence[Example]) -> Rollout:
    completion = Completion(
        value["text"],
        tuple(int(token) for token in _unpack(value["token_ids"])),
        tuple(_unpack(value["logprobs"])),
        value["finish_reason"],
        value["policy_version"],
        _decode_routing(value["routing"]) if "routing" in value else None,
        _decode_kept(value["kept"]) if "kept" in value else None,
        value.get("token_count"),
    )
    return Rollout(examples[value["example"]], completion, value["group"])


def _pack_floats(numbers: Iterable[float]) -> str:
    """Four bytes each when that is exact, as it is for what a float32 model computed; eight otherwise."""
    doubles = array("d", numbers)
    singles = array("f", doubles)
    return _pack("f" if array("d", singles).tobytes() == doubles.tobytes() else "d", doubles)


def _pack(code: str, numbers: Iterable[float]) -> str:
    """An array's type code, a colon, and its little-endian bytes in base64."""
    values = array(code, numbers)
    if sys.byteorder == "big":
        values.byteswap()
    return f"{code}:{base64.b64encode(values.tobytes()).decode('ascii')}"


def _unpack(text: str) -> array[float]:
    code, _, data = text.partition(":")
    values: array[float] = array(code, base64.b64decode(data))
    if sys.byteorder == "big":
        values.byteswap()
    return values
