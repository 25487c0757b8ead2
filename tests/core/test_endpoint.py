"""What asks an OpenAI-compatible endpoint: replies understood, kept, asked for once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from ponder.asking import Answers, ask_all, spent
from ponder.endpoint import Budget, Endpoint, Question, Reply, SpentError, UnansweredError, served_models
from ponder.endpoint_options import EndpointOptions
from ponder.errors import InputError, StageError
from ponder.kept_replies import KeptReplies, cache_directory
from ponder.secrecy import without
from ponder.signals import StopSignals
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


def asked(server: StubEndpoint, folder: Path, *texts: str, leaves_step: bool = True) -> Answers:
    kept, questions = (
        KeptReplies(folder / "kept", {"url": server.url}, "the teacher"),
        [question(text) for text in texts],
    )
    return ask_all(questions, endpoint(server), Budget(None, None), kept, 2, leaves_step=leaves_step)


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


@pytest.mark.parametrize("before", [0, 290], ids=["whole", "where it is cut"])
def test_a_key_is_taken_out_of_an_error_before_that_is_cut(server: StubEndpoint, before: int) -> None:
    key = "eyJhbGciOiJSUzI1NiJ9." + "SECRET" * 90
    server.answer = lambda number, body: (401, b"x" * before + key.encode() * 2 + b" is wrong", {})
    with pytest.raises(StageError) as refused:
        endpoint(server, key=key).ask(question("a"), Budget(None, None))
    assert key[:8] not in str(refused.value)
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize(
    "written", ["a%2fb%22c%2b%2b", "a/b%22c%2B%2B", r"a/b\"c++", r"a\/b\"c++", "a/b&quot;c++", 'a/b"c++']
)
def test_a_key_is_taken_out_however_a_server_writes_it(written: str) -> None:
    assert without('a/b"c++', f"key {written} is wrong") == "key *** is wrong"


def test_the_beginning_of_a_key_at_the_end_of_a_text_is_taken_out() -> None:
    assert without(KEY, f"bad key {KEY[:9]}") == "bad key ***"
    assert without(KEY, "no keys") == "no keys"


def test_a_request_that_does_not_fit_waits_until_those_under_way_are_counted(
    server: StubEndpoint, tmp_path: Path
) -> None:
    def answer(number: int, body: Any) -> Any:
        time.sleep(0.02)
        return completion("Yes")

    server.answer = answer
    budget, kept = Budget(None, 2000), KeptReplies(tmp_path, {}, "the teacher")
    questions = [question(str(number)) for number in range(10)]
    answers = ask_all(questions, endpoint(server, reply_tokens=900), budget, kept, 8)
    assert (len(answers.replies), budget.tokens) == (10, 1000)


def test_a_budget_of_tokens_is_used_up_when_nothing_is_under_way_and_a_request_does_not_fit(
    server: StubEndpoint, tmp_path: Path
) -> None:
    options = EndpointOptions(max_tokens=1250)
    kept = KeptReplies(tmp_path, {}, "the teacher")
    with pytest.raises(SpentError) as raised:
        questions = [question(str(number)) for number in range(10)]
        ask_all(questions, endpoint(server, reply_tokens=900), Budget(None, 1250), kept, 8)
    assert len(server.asked) == 4
    assert "max_tokens = 1250 is used up: 400 are spent, 850 left, and a request may need 900; raise it" in str(
        spent(raised.value, "the teacher", options)
    )


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


def signalled(server: StubEndpoint, folder: Path, answer: Any, signal_at: int, *, leaves_step: bool = True) -> Answers:
    """What comes of two questions at once, of six, when a signal comes with a request within a step."""

    def answer_and_signal(number: int, body: Any) -> Any:
        if number == signal_at:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
        return answer(number)

    server.answer = answer_and_signal
    with StopSignals() as signals, signals.deferred():
        return asked(server, folder, *"abcdef", leaves_step=leaves_step)


def test_a_signal_begins_no_request_and_keeps_the_replies_to_those_under_way(
    server: StubEndpoint, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        signalled(server, tmp_path, lambda number: time.sleep(0.5 if number > 2 else 0) or "Yes", signal_at=4)
    assert len(server.asked) == 4
    server.answer = lambda number, body: "Yes"
    assert asked(server, tmp_path, *"abcdef").kept == 4


def test_after_a_signal_nothing_is_tried_again(server: StubEndpoint, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        signalled(server, tmp_path, lambda number: time.sleep(0.5) or (503, b"", {}), signal_at=2)
    assert len(server.asked) == 2


def test_a_signal_with_the_last_requests_lets_the_step_have_their_replies(server: StubEndpoint, tmp_path: Path) -> None:
    assert len(signalled(server, tmp_path, lambda number: "Yes", signal_at=6).replies) == 6


def test_a_signal_lets_questions_that_belong_to_a_training_step_all_be_asked(
    server: StubEndpoint, tmp_path: Path
) -> None:
    assert len(signalled(server, tmp_path, lambda number: "Yes", signal_at=2, leaves_step=False).replies) == 6


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(("leaves_step", "signals"), [(True, 1), (False, 2)], ids=["a teacher", "a judge"])
def test_a_program_whose_endpoint_hangs_ends_with_the_first_signal_or_in_a_training_step_with_the_second(
    server: StubEndpoint, tmp_path: Path, name: str, leaves_step: bool, signals: int
) -> None:
    server.answer = lambda number, body: time.sleep(30) or "Yes"
    server.handle_error = lambda request, client_address: None
    program = f"""
from pathlib import Path
from ponder.asking import ask_all
from ponder.endpoint import Budget, Endpoint, Question
from ponder.kept_replies import KeptReplies
from ponder.signals import StopSignals
hanging = Endpoint(
    whose="it", url={server.url!r}, key="", body={{}}, reply_tokens=1, timeout=60.0, retries=1, backoff=0.0
)
questions = [Question(key, [{{"role": "user", "content": key}}]) for key in "abcd"]
kept = KeptReplies(Path({str(tmp_path)!r}), {{}}, "it")
with StopSignals() as signals, signals.deferred():
    ask_all(questions, hanging, Budget(None, None), kept, 2, leaves_step={leaves_step})
"""
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) as running:
        while len(server.asked) < 2:
            assert running.poll() is None
            time.sleep(0.02)
        for _ in range(signals):
            running.send_signal(signal.Signals[name])
            time.sleep(0.2)
        _, errors = running.communicate(timeout=15)
    assert b"KeyboardInterrupt" in errors
    assert len(server.asked) == 2


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
