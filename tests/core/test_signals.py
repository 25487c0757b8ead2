from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from ponder.errors import Interrupted
from ponder.signals import StopSignals


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_lets_the_step_finish_and_the_same_command_repeats_none(
    laboratory: Any, another_laboratory: Any, name: str, code: int
) -> None:
    overrides = ("stages.first.signal_at=1", f"stages.first.signal_name={name}", "stages.first.every=100")
    another_laboratory.run(*overrides[1:])
    with pytest.raises(Interrupted) as caught:
        laboratory.run(*overrides)
    assert caught.value.exit_code == code
    assert laboratory.steps() == ["first 0", "first 1"]
    assert f"stopped by {name}: stage first, step 2 of 4 is kept; the same command continues" in str(caught.value)

    laboratory.run(*overrides)
    assert laboratory.steps()[:2] == ["first 2", "first 3"]
    assert "resumed stage first at step 2 of 4" in laboratory.output
    name_of_metrics = "first/metrics.jsonl"
    assert laboratory.outputs()[name_of_metrics] == another_laboratory.outputs()[name_of_metrics]


def test_the_second_signal_stops_within_the_step(laboratory: Any) -> None:
    overrides = ("stages.first.signal_at=1", "stages.first.signals=2", "stages.first.every=1")
    with pytest.raises(Interrupted):
        laboratory.run(*overrides)
    laboratory.run(*overrides)

    assert laboratory.steps()[0] == "first 1"


def test_where_no_step_runs_the_first_signal_stops_at_once(laboratory: Any) -> None:
    laboratory.recipe_text += "  last: {type: fail, how: interrupt}\n"
    with pytest.raises(Interrupted) as caught:
        laboratory.run()

    assert caught.value.exit_code == 130


def test_a_loop_without_a_state_stops_between_two_steps_and_goes_on_from_its_journal(
    laboratory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = laboratory.plugin.Collect.run

    def interrupted(self: Any, context: Any) -> Any:
        log = context.log

        def log_and_signal(metrics: Any, step: int) -> None:
            log(metrics, step)
            os.kill(os.getpid(), signal.SIGINT)

        context.log = log_and_signal
        return original(self, context)

    with monkeypatch.context() as patch, pytest.raises(Interrupted, match="what it has journalled is kept"):
        patch.setattr(laboratory.plugin.Collect, "run", interrupted)
        laboratory.run()
    laboratory.run()

    assert laboratory.steps() == ["second 1", "second 2"]


def test_handlers_are_put_back(laboratory: Any) -> None:
    before = signal.getsignal(signal.SIGTERM)
    laboratory.run()

    assert signal.getsignal(signal.SIGTERM) is before


def test_a_deferred_signal_waits_to_be_looked_at() -> None:
    with StopSignals() as signals, signals.deferred():
        os.kill(os.getpid(), signal.SIGTERM)

        assert signals.received
        assert signals.interruption("why").exit_code == 143


def test_out_of_the_main_thread_nothing_is_changed() -> None:
    import threading

    before, seen = signal.getsignal(signal.SIGINT), []

    def enter() -> None:
        with StopSignals():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()

    assert seen == [before]
