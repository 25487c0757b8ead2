"""Stages side by side: the same results, whatever fails, stops or is killed on the way."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ponder.errors import InputError, Interrupted, StageError
from ponder.progress import Display

BRANCHES = """
name: toy
tracker: {type: toy}
policies:
  base: {type: toy, value: 2.0}
stages:
  first: {type: count, policy: base}
  other: {type: count, policy: base}
  second: {type: collect, policy: first}
  third: {type: collect, policy: other}
  last: {type: report}
"""


def meeting(folder: Path, more: str = "") -> str:
    return f"""
name: toy
policies:
  base: {{type: toy}}
stages:
  one: {{type: meet, policy: base, folder: {folder}, other: two}}
  two: {{type: meet, policy: base, folder: {folder}, other: one{more}}}
"""


def test_stages_side_by_side_leave_the_same_bytes_as_one_after_the_other(
    laboratory: Any, another_laboratory: Any
) -> None:
    laboratory.recipe_text = another_laboratory.recipe_text = BRANCHES
    outcome = laboratory.run(jobs=2)
    another_laboratory.run()

    assert [stage.name for stage in outcome.stages] == ["first", "other", "second", "third", "last"]
    assert laboratory.outputs() == another_laboratory.outputs()


def test_stages_that_do_not_need_each_other_run_at_the_same_time(laboratory: Any, tmp_path: Path) -> None:
    laboratory.recipe_text = meeting(tmp_path)
    outcome = laboratory.run(jobs=2)

    assert [stage.result.metrics["met"] for stage in outcome.stages] == [1.0, 1.0]


def test_what_is_there_already_is_not_made_again(laboratory: Any) -> None:
    laboratory.recipe_text = BRANCHES
    laboratory.run(until="second")
    outcome = laboratory.run(jobs=3)

    assert outcome.cached == {"first", "other", "second"}
    assert "first: done before" in laboratory.output


def test_lines_and_bars_say_which_stage_they_are_of(laboratory: Any) -> None:
    laboratory.recipe_text = BRANCHES
    laboratory.run(jobs=2)

    for name in ("first 4/4, took", "other 4/4, took", "second 3/3, took"):
        assert name in laboratory.output


def test_a_tracker_sees_one_stage_after_the_other(laboratory: Any) -> None:
    laboratory.recipe_text = BRANCHES
    laboratory.run(jobs=2)
    depth, stages = 0, []
    for call in laboratory.calls:
        if call[0] == "start":
            depth += 1
            stages.append(call[1])
        depth -= call[0] == "finish"
        assert depth <= 2
    assert sorted(stages) == ["first", "last", "other", "second", "third", "toy"]
    totals = [call for call in laboratory.calls if call[0] == "log" and "total" in call[1]]
    assert len(totals) == 2 * 5


def test_a_failing_stage_stops_the_others_at_a_checkpoint_and_starts_no_more(laboratory: Any) -> None:
    laboratory.recipe_text = BRANCHES.replace(
        "  last:", "  wrong: {type: fail, how: value, after: [first]}\n  last:"
    ).replace("other: {type: count", "other: {type: count, steps: 100000, every: 100000")
    laboratory.recipe_text = laboratory.recipe_text.replace("first: {type: count", "first: {type: count, steps: 200")
    with pytest.raises(StageError) as caught:
        laboratory.run(jobs=2)

    assert "stage 'wrong' (fail of ponder-toy 1) failed: ValueError: the third number is not prime" in str(caught.value)
    assert "third" not in laboratory.output
    assert ("finish", "killed") in laboratory.calls
    assert len(list(laboratory.runs.glob(".store/.work-*/checkpoints/*"))) == 1


def test_a_stage_that_is_given_bad_input_ends_the_run_as_bad_input(laboratory: Any) -> None:
    laboratory.recipe_text = BRANCHES.replace("  last:", "  wrong: {type: fail, how: input, after: []}\n  last:")
    with pytest.raises(InputError, match=r"data.jsonl:3: not JSON"):
        laboratory.run(jobs=2)


def test_a_signal_stops_every_stage_after_its_step_and_the_same_command_continues(
    laboratory: Any, another_laboratory: Any, in_a_child: Callable[[Callable[[], int]], int]
) -> None:
    laboratory.recipe_text = another_laboratory.recipe_text = BRANCHES.replace(
        "type: count", "type: count, steps: 3000, every: 3000"
    )

    def interrupted() -> int:
        store = laboratory.runs / ".store"
        _signal_once(lambda: _logs_of_some_steps(store) == 2, os.getpid(), signal.SIGINT)
        try:
            laboratory.run(jobs=2)
        except Interrupted as error:
            return error.exit_code
        return 0

    assert in_a_child(interrupted) == 130
    laboratory.run(jobs=2)
    assert "resumed stage first at step" in laboratory.output
    assert "resumed stage other at step" in laboratory.output
    another_laboratory.run()
    assert laboratory.outputs() == another_laboratory.outputs()


def test_where_no_step_runs_a_signal_stops_every_stage_at_once(
    laboratory: Any, tmp_path: Path, in_a_child: Callable[[Callable[[], int]], int]
) -> None:
    laboratory.recipe_text = (
        meeting(tmp_path).replace("other: one", "other: nobody").replace("other: two", "other: none")
    )

    def interrupted() -> int:
        _signal_once(lambda: all(_process(tmp_path / name) for name in ("one", "two")), os.getpid(), signal.SIGTERM)
        began = time.monotonic()
        try:
            laboratory.run(jobs=2)
        except Interrupted as error:
            return error.exit_code if time.monotonic() - began < 20 else 0
        return 1

    assert in_a_child(interrupted) == 143


def test_a_run_that_is_killed_takes_its_stages_with_it_and_can_be_continued(
    laboratory: Any, tmp_path: Path, in_a_child: Callable[[Callable[[], int]], int]
) -> None:
    laboratory.recipe_text = (
        meeting(tmp_path).replace("other: one", "other: nobody").replace("other: two", "other: none")
    )

    def killed() -> int:
        _signal_once(lambda: all(_process(tmp_path / name) for name in ("one", "two")), os.getpid(), signal.SIGKILL)
        laboratory.run(jobs=2)
        return 0

    assert in_a_child(killed) == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while any(_runs(_process(tmp_path / name)) for name in ("one", "two")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (tmp_path / "nobody").touch()
    (tmp_path / "none").touch()
    assert len(laboratory.run(jobs=2).stages) == 2


def test_a_stage_whose_process_is_killed_fails_by_name_and_is_made_by_the_same_command(
    laboratory: Any, tmp_path: Path
) -> None:
    laboratory.recipe_text = meeting(tmp_path, ", dies: true")
    with pytest.raises(StageError, match="the process of stage 'two' ended without a word"):
        laboratory.run(jobs=2)

    assert len(laboratory.run(jobs=2).stages) == 2


def test_several_bars_share_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    display = Display(screen)
    with display.bar("first", 2) as one:
        with display.bar("second", 2) as two:
            two.show({"loss": 0.5})
            two.expect(7)
            two.advance(7)
        one.advance(1)

    assert "second" in screen.getvalue()
    assert "7/7" in screen.getvalue()
    assert "loss 0.5" in screen.getvalue()


def _signal_once(is_begun: Callable[[], bool], process: int, number: int) -> None:
    """Have another process send the signal as soon as the condition holds."""
    if os.fork() == 0:
        deadline = time.monotonic() + 30
        while not is_begun() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process, number)
        os._exit(0)


def _logs_of_some_steps(store: Path) -> int:
    return sum(log.stat().st_size > 500 for log in store.glob(".work-*/out/metrics.jsonl"))


def _process(mark: Path) -> int:
    """The process that left the mark; 0 as long as it has not."""
    return int((mark.read_text() if mark.exists() else "") or 0)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
