"""What asks an OpenAI-compatible endpoint: replies understood, kept, asked for once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from ponder.asking import Answers, ask_all
from ponder.endpoint import Budget, Endpoint, Question, Reply, UnansweredError, served_models
from ponder.endpoint_options import EndpointOptions
from ponder.errors import InputError, StageError
from ponder.kept_replies import KeptReplies, cache_directory
from ponder.testing.endpoints import StubEndpoint, completion

KEY = "sk-very-secret-0123456789"


@pytest.fixture
def server() -> Iterator[StubEndpoint]:
    with StubEndpoint() as server:
        yield server


def endpoint(server: StubEndpoint, **options: Any) -> Endpoint:
    given = {"whose": "the teacher", "key": "", "body": {"model": "m"}, "reply_tokens": 10, "timeout": 5.0}
    return Endpoint(url=server.url, **{**given, "retries": 1, "backoff": 0.0, **options})


def question(text: str, **fields: Any) -> Question:
    return Question(text, [{"role": "user", "content": text}], fields)


def asked(server: StubEndpoint, folder: Path, *texts: str) -> Answers:
    kept = KeptReplies(folder / "kept", {"url": server.url}, "the teacher")
    return ask_all([question(text) for text in texts], endpoint(server), Budget(None, None), kept, 2)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_that_is_given_apart_is_kept_apart(server: StubEndpoint, name: str) -> None:
    server.answer = lambda number, body: completion("4", finish_reason="length", tokens=7, **{name: "2 and 2"})
    assert endpoint(server).ask(question("2 + 2"), Budget(None, None)) == Reply("4", "2 and 2", "length", 97, 7)


def test_a_reply_of_reasoning_alone_is_a_reply(server: StubEndpoint) -> None:
    server.answer = lambda number, body: completion(None, finish_reason="length", reasoning_content="Hm")
    assert endpoint(server).ask(question("2 + 2"), Budget(None, None)).reasoning == "Hm"


def test_tokens_that_are_not_counted_are_guessed(server: StubEndpoint) -> None:
    server.answer = lambda number, body: {"choices": [{"message": {"content": "x" * 36}}]}
    assert endpoint(server).ask(question("why?"), Budget(None, None)) == Reply("x" * 36, tokens=10)


def test_a_questions_own_fields_are_sent(server: StubEndpoint) -> None:
    endpoint(server).ask(question("a", seed=5), Budget(None, None))
    assert server.asked[0][0] == {"model": "m", "seed": 5, "messages": [{"role": "user", "content": "a"}]}


def test_an_empty_reply_is_asked_for_again_where_text_is_wanted(server: StubEndpoint) -> None:
    server.answer = lambda number, body: " " if number == 1 else "Yes"
    assert endpoint(server, wants_text=True).ask(question("a"), Budget(None, None)).text == "Yes"
    server.answer = lambda number, body: ""
    with pytest.raises(UnansweredError, match="the reply is empty"):
        endpoint(server, wants_text=True).ask(question("a"), Budget(None, None))


def test_a_reply_that_was_cut_before_its_first_word_is_not_asked_for_again(server: StubEndpoint) -> None:
    server.answer = lambda number, body: completion("", finish_reason="length")
    assert endpoint(server, wants_text=True).ask(question("a"), Budget(None, None)).text == ""
    assert len(server.asked) == 1


def test_a_date_in_retry_after_is_heeded_as_seconds_are(server: StubEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("ponder.endpoint.time.sleep", pauses.append)
    later = [format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True), "300", "tomorrow", "1e9"]
    server.answer = lambda number, body: (429, b"", {"Retry-After": later[number - 1]}) if number < 5 else "Yes"
    assert endpoint(server, retries=4).ask(question("a"), Budget(None, None)).text == "Yes"
    assert 85 < pauses[0] <= 90
    assert pauses[1:] == [300.0, 0.0, 600.0]


@pytest.mark.parametrize(("variable", "advice"), [("KEY", "variable KEY the right one"), ("", "in `key_variable`")])
def test_a_refused_key_is_said_with_what_to_do(server: StubEndpoint, variable: str, advice: str) -> None:
    server.answer = lambda number, body: (401, b"no", {})
    with pytest.raises(StageError, match=rf"the teacher's endpoint .* refuses: status 401: no; .*{advice}"):
        endpoint(server, key_variable=variable).ask(question("a"), Budget(None, None))


def test_what_is_kept_is_not_asked_again(server: StubEndpoint, tmp_path: Path) -> None:
    asked(server, tmp_path, "a", "b")
    answers = asked(server, tmp_path, "b", "c")
    assert (answers.kept, set(answers.replies), len(server.asked)) == (1, {"b", "c"}, 3)


def test_a_question_that_stays_open_is_told_and_the_others_are_kept(server: StubEndpoint, tmp_path: Path) -> None:
    server.answer = lambda number, body: (500, b"", {}) if body["messages"][0]["content"] == "bad" else "Yes"
    answers = asked(server, tmp_path, "good", "bad")
    assert list(answers.replies) == ["good"]
    assert "status 500" in str(answers.problems[0])


def test_a_refusal_keeps_what_was_answered_before(server: StubEndpoint, tmp_path: Path) -> None:
    server.answer = lambda number, body: "Yes" if number < 3 else (401, b"", {})
    with pytest.raises(StageError, match="refuses"):
        asked(server, tmp_path, *"abcdef")
    server.answer = lambda number, body: "Yes"
    assert asked(server, tmp_path, *"abcdef").kept == 2


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"reply": 3}', '{"reply": "a", "reasoning": 1}', '{"reply": "a", "x": 1}']
)
def test_a_kept_reply_that_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    kept = KeptReplies(tmp_path, {}, "the teacher")
    kept.put(question("a"), Reply("Yes"))
    (path,) = tmp_path.rglob("*.json")
    path.write_text(content)
    assert kept.get(question("a")) is None


def test_a_reply_kept_before_there_was_more_than_text_is_read(tmp_path: Path) -> None:
    kept = KeptReplies(tmp_path, {}, "the teacher")
    kept.put(question("a"), Reply("Yes"))
    (path,) = tmp_path.rglob("*.json")
    path.write_text('{"reply": "No"}')
    assert kept.get(question("a")) == Reply("No")


def test_the_cache_is_where_the_option_says_or_in_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert cache_directory("here", "judge") == Path("here")
    assert cache_directory("", "judge") == Path("/cache/ponder/judge")


def test_further_fields_replace_and_null_takes_out() -> None:
    options = EndpointOptions(model="m", request={"max_tokens": None, "max_completion_tokens": 5})
    assert options.body(max_tokens=9) == {"model": "m", "max_completion_tokens": 5}


def test_the_models_that_an_endpoint_serves_are_listed(server: StubEndpoint) -> None:
    server.models = ["small", "large"]
    assert served_models(server.url, "key") == ["small", "large"]


def test_an_endpoint_that_lists_no_models_is_taken_at_its_word(server: StubEndpoint) -> None:
    server.models_status = 404
    assert served_models(server.url, "") == []


def test_an_endpoint_that_refuses_or_is_not_there_is_said(server: StubEndpoint) -> None:
    server.models_status = 401
    with pytest.raises(InputError, match="refuses the key that it is given, or wants one: status 401"):
        served_models(server.url, KEY)
    with pytest.raises(InputError, match=r"http://127.0.0.1:9/v1 does not answer: .*refused.*; is the server up"):
        served_models("http://127.0.0.1:9/v1", KEY)
