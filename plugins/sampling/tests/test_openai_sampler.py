"""The sampler `openai`, against an endpoint on loopback that does as its script says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ponder import Completion, Example
from ponder.endpoint import Reply
from ponder.errors import InputError, StageError
from ponder.metrics import statistics_of
from ponder.testing.endpoints import StubEndpoint, completion
from ponder.text import is_well_formed, split_response
from ponder_sampling import OpenaiConfig
from ponder_sampling.openai import OpenaiSampler, text_of

KEY = "sk-very-secret-0123456789"
SUM = Example([{"role": "user", "content": "2 + 2"}], "4")


@pytest.fixture
def server() -> Iterator[StubEndpoint]:
    with StubEndpoint() as server:
        yield server


@pytest.fixture
def teacher(server: StubEndpoint, tmp_path: Path) -> Callable[..., OpenaiSampler]:
    def make(**options: Any) -> OpenaiSampler:
        given = {"url": server.url, "cache": str(tmp_path / "kept"), "backoff_seconds": 0.0, "retries": 1, **options}
        return OpenaiSampler(OpenaiConfig(**given))

    return make


def test_reasoning_stands_between_think_tags_before_the_answer() -> None:
    text = text_of(Reply("The answer is 4.", " Two and two. "))
    assert text == "<think>\nTwo and two.\n</think>\n\nThe answer is 4."
    assert is_well_formed(text, "r1")


def test_reasoning_that_was_cut_stays_open() -> None:
    text = text_of(Reply("", "Two and", "length"))
    assert text == "<think>\nTwo and"
    assert split_response(text).answer is None


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("Two.\n</think>\n\n4", "<think>\nTwo.\n</think>\n\n4"),
        ("<think>Two.</think> 4", "<think>Two.</think> 4"),
        (" 4 ", "4"),
    ],
)
def test_tags_that_the_server_leaves_in_the_text_stay_and_a_missing_one_is_put_back(reply: str, text: str) -> None:
    assert text_of(Reply(reply)) == text


@pytest.mark.parametrize(
    ("reason", "tokens", "expected"),
    [("stop", 5, "stop"), ("length", 5, "length"), ("content_filter", 5, "length"), ("", 5, "stop"), ("", 8, "length")],
)
def test_only_what_ended_by_itself_is_finished(
    server: StubEndpoint, teacher: Callable[..., OpenaiSampler], reason: str, tokens: int, expected: str
) -> None:
    server.answer = lambda number, body: completion("Yes", finish_reason=reason, tokens=tokens)
    ((one,),) = teacher(max_new_tokens=8).sample(None, [SUM], 1, 0)
    assert one == Completion("Yes", finish_reason=expected, token_count=tokens)
    assert one.length == tokens


def test_each_completion_is_asked_for_with_a_seed_of_its_own(
    server: StubEndpoint, teacher: Callable[..., OpenaiSampler]
) -> None:
    teacher(temperature=0.6, top_p=0.95, max_new_tokens=50, model="m").sample(None, [SUM, SUM], 3, 7)
    bodies = [dict(body) for body, _ in server.asked]
    assert len({body.pop("seed") for body in bodies}) == 6
    messages = [{"role": "user", "content": "2 + 2"}]
    assert bodies == [{"model": "m", "temperature": 0.6, "top_p": 0.95, "max_tokens": 50, "messages": messages}] * 6


def test_greedy_completions_of_a_prompt_are_one_request(
    server: StubEndpoint, teacher: Callable[..., OpenaiSampler]
) -> None:
    groups = teacher(temperature=0.0).sample(None, [SUM, SUM], 3, 7)
    assert [len(group) for group in groups] == [3, 3]
    assert len(server.asked) == 1


def test_a_server_without_seeds_is_sent_none_and_asked_as_often(
    server: StubEndpoint, teacher: Callable[..., OpenaiSampler]
) -> None:
    teacher(request={"seed": None, "top_k": 20}).sample(None, [SUM], 2, 7)
    assert [("seed" in body, body["top_k"]) for body, _ in server.asked] == [(False, 20)] * 2


def test_a_system_message_goes_before_prompts_that_have_none(
    server: StubEndpoint, teacher: Callable[..., OpenaiSampler]
) -> None:
    own = Example([{"role": "system", "content": "Own."}, *SUM.prompt])
    teacher(system="Be brief.", concurrency=1).sample(None, [Example("2 + 2"), own], 1, 0)
    contents = [[message["content"] for message in body["messages"]] for body, _ in server.asked]
    assert contents == [["Be brief.", "2 + 2"], ["Own.", "2 + 2"]]


def test_nothing_is_asked_twice_by_the_same_seed_and_anew_by_another(
    server: StubEndpoint, teacher: Callable[..., OpenaiSampler]
) -> None:
    first = teacher().sample(None, [SUM], 4, 7)
    assert teacher().sample(None, [SUM], 4, 7) == first
    assert len(server.asked) == 4
    teacher().sample(None, [SUM], 4, 8)
    teacher(temperature=0.5).sample(None, [SUM], 4, 7)
    assert len(server.asked) == 12


def test_what_was_answered_before_the_server_died_is_kept(
    server: StubEndpoint, teacher: Callable[..., OpenaiSampler]
) -> None:
    server.answer = lambda number, body: "Yes" if number <= 5 else (503, b"", {})
    with pytest.raises(
        StageError, match=r"left 3 of 8 questions open: .*status 503.*replies so far are kept, and the same command"
    ):
        teacher(concurrency=1).sample(None, [SUM, SUM], 4, 7)
    server.asked.clear()
    server.answer = lambda number, body: "Yes"
    teacher().sample(None, [SUM, SUM], 4, 7)
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    "failure",
    [
        (429, b"slow down", {"Retry-After": "0"}),
        (500, b"", {}),
        (200, b"<html>", {}),
        (200, b'{"choices": []}', {}),
        (200, b'{"choices": [{"message": "?"}]}', {}),
        "",
    ],
)
def test_what_may_pass_is_tried_again_and_counted(
    server: StubEndpoint, teacher: Callable[..., OpenaiSampler], failure: Any
) -> None:
    server.answer = lambda number, body: failure if number == 1 else completion("Yes", tokens=10)
    sampler = teacher(concurrency=1)
    ((one, _),) = sampler.sample(None, [SUM], 2, 7)
    assert one.text == "Yes"
    told = statistics_of(sampler)
    assert (told["requests"], told["retries"], told["kept_replies"]) == (3, 1, 0)
    assert statistics_of(sampler)["requests"] == 0


def test_a_teacher_that_is_not_there_is_said_with_where_it_should_be(teacher: Callable[..., OpenaiSampler]) -> None:
    with pytest.raises(StageError, match=r"no answer from http://127.0.0.1:9/v1 after 2 tries; .*refused"):
        teacher(url="http://127.0.0.1:9/v1").sample(None, [SUM], 1, 0)


def test_a_refusal_names_the_question(server: StubEndpoint, teacher: Callable[..., OpenaiSampler]) -> None:
    server.answer = lambda number, body: (400, b"maximum context length is 8", {})
    with pytest.raises(StageError, match=r"status 400: maximum context length is 8; the question begins '2 \+ 2'"):
        teacher().sample(None, [SUM], 1, 0)


def test_the_budget_holds_over_calls_and_what_it_paid_for_is_kept(
    server: StubEndpoint, teacher: Callable[..., OpenaiSampler]
) -> None:
    sampler = teacher(max_calls=3)
    sampler.sample(None, [SUM], 2, 0)
    with pytest.raises(StageError, match="the sampler's budget max_calls = 3 is used up: raise it"):
        sampler.sample(None, [SUM], 2, 1)
    assert len(server.asked) == 3


def test_the_key_goes_to_the_endpoint_and_nowhere_else(
    server: StubEndpoint,
    teacher: Callable[..., OpenaiSampler],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("TEACHER_KEY", KEY)
    sampler = teacher(key_variable="TEACHER_KEY")
    sampler.sample(None, [SUM], 1, 0)
    assert server.asked[0][1]["Authorization"] == f"Bearer {KEY}"
    server.answer = lambda number, body: (401, f"bad key {KEY}".encode(), {})
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(
            StageError, match=r"bad key \*\*\*; is the key in the environment variable TEACHER_KEY"
        ) as raised,
    ):
        sampler.sample(None, [SUM], 1, 1)
    written = "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    assert KEY not in f"{raised.value}{caplog.text}{written}{vars(sampler)}{sampler._endpoint()}"


def test_a_key_that_is_not_set_is_said_when_the_sampler_is_built(
    teacher: Callable[..., OpenaiSampler], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    with pytest.raises(InputError, match="sampler openai: the environment variable TEACHER_KEY, which should hold"):
        teacher(key_variable="TEACHER_KEY")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"url": "http://user:pass@host"}, "url must not hold a user"),
        ({"temperature": -1.0}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"concurrency": 0}, "concurrency"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        OpenaiConfig(**options)
