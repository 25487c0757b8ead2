from __future__ import annotations

import io
import os
import pty
from typing import Any

import pytest

from ponder.progress import Display, describe_numbers, describe_seconds, headline


def test_without_a_terminal_a_finished_loop_is_one_line() -> None:
    screen = io.StringIO()
    with Display(screen).bar("grpo", 3) as bar:
        for done in (1, 2, 3):
            bar.advance(done)
            bar.show({"reward": done / 3})

    assert screen.getvalue().splitlines() == ["grpo 3/3, took 0:00, reward 0.6667"]


def test_without_a_terminal_there_is_a_line_now_and_then_with_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 6.0, 12.0, 18.0, 24.0])
    monkeypatch.setattr("ponder.progress.time.monotonic", lambda: next(clock))
    screen = io.StringIO()
    with Display(screen).bar("grpo", 4) as bar:
        for done in (1, 2, 3, 4):
            bar.show({"reward": 0.5})
            bar.advance(done)

    assert screen.getvalue().splitlines() == ["grpo 2/4, 0:12 left, reward 0.5", "grpo 4/4, took 0:24, reward 0.5"]


def test_the_time_left_of_a_resumed_loop_counts_only_what_was_done_since(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 30.0])
    monkeypatch.setattr("ponder.progress.time.monotonic", lambda: next(clock))
    screen = io.StringIO()
    with Display(screen).bar("grpo", 110, start=100) as bar:
        bar.advance(103)

    assert screen.getvalue().splitlines() == ["grpo 103/110, 1:10 left"]


def test_a_loop_that_is_expected_to_end_sooner_tells_the_time_left_to_there(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 30.0, 60.0])
    monkeypatch.setattr("ponder.progress.time.monotonic", lambda: next(clock))
    screen = io.StringIO()
    with Display(screen).bar("grpo", 1000) as bar:
        bar.expect(20)
        bar.advance(10)
        bar.advance(20)

    assert screen.getvalue().splitlines() == ["grpo 10/20, 0:30 left", "grpo 20/20, took 1:00"]


def test_a_stream_that_knows_no_unicode_gets_question_marks() -> None:
    raw = io.BytesIO()
    display = Display(io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    display.say("思考 → done")

    assert raw.getvalue() == b"?? ? done\n"


def test_a_reader_that_has_gone_does_not_stop_the_run() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w", buffering=1)
    Display(stream).say("nobody reads this")
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_brackets_in_a_message_are_shown_as_they_are() -> None:
    screen = io.StringIO()
    Display(screen).say("options [bold]trl[/bold] and a long line " + "x" * 300)

    assert screen.getvalue() == "options [bold]trl[/bold] and a long line " + "x" * 300 + "\n"


def test_what_a_model_wrote_cannot_steer_the_terminal() -> None:
    screen = io.StringIO()
    Display(screen).say("answer\x1b[2J\x07\r 42")

    assert screen.getvalue() == "answer\ufffd[2J\ufffd\ufffd 42\n"


def test_on_a_terminal_there_is_a_bar_with_numbers() -> None:
    shown = _on_a_terminal(_three_steps)

    assert "grpo" in shown and "3/3" in shown and "reward 0.5" in shown


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (123, "2:03"), (3723, "1:02:03")])
def test_times_are_told_in_hours_minutes_and_seconds(seconds: float, text: str) -> None:
    assert describe_seconds(seconds) == text


def test_numbers_are_told_in_four_digits() -> None:
    assert describe_numbers({"loss": 0.123456, "tokens": 12345678.0}) == "loss 0.1235, tokens 1.235e+07"


def test_the_totals_come_before_their_parts() -> None:
    numbers = {"rewards/format": 1.0, "reward": 0.5, "rewards/accuracy": 0.2, "length": 12}

    assert list(headline(numbers, 3)) == ["reward", "length", "rewards/format"]


def _three_steps(display: Display) -> None:
    with display.bar("grpo", 3) as bar:
        for done in (1, 2, 3):
            bar.show({"reward": 0.5})
            bar.advance(done)


def _on_a_terminal(action: Any) -> str:
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as stream:
        action(Display(stream))
    os.set_blocking(leader, False)
    shown = b""
    try:
        while chunk := os.read(leader, 65536):
            shown += chunk
    except OSError:
        pass
    os.close(leader)
    return shown.decode()
