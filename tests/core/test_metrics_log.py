from __future__ import annotations

import math
from pathlib import Path

import pytest

from ponder.metrics import MetricsLog


class Tensor:
    """A number of another library."""

    def __float__(self) -> float:
        return 0.1


def test_lines_are_strict_json_with_the_step_first(tmp_path: Path) -> None:
    with MetricsLog(tmp_path / "log") as log:
        log.append({"loss": 0.1, "kl": math.nan, "tokens": 12}, step=3)

    assert (tmp_path / "log").read_text() == '{"step": 3, "loss": 0.1, "kl": null, "tokens": 12}\n'


def test_numbers_of_other_libraries_become_floats(tmp_path: Path) -> None:
    with MetricsLog(tmp_path / "log") as log:
        log.append({"loss": Tensor()})  # type: ignore[dict-item]

    assert (tmp_path / "log").read_text() == '{"loss": 0.1}\n'


def test_a_float_keeps_every_bit(tmp_path: Path) -> None:
    value = math.nextafter(0.1, 1.0)
    with MetricsLog(tmp_path / "log") as log:
        log.append({"loss": value})
        assert list(log.lines()) == [{"loss": value}]


def test_a_new_log_starts_empty(tmp_path: Path) -> None:
    for _ in range(2):
        with MetricsLog(tmp_path / "log") as log:
            log.append({"loss": 1.0})

    assert len((tmp_path / "log").read_text().splitlines()) == 1


def test_rewinding_drops_later_lines_and_those_that_wait(tmp_path: Path) -> None:
    with MetricsLog(tmp_path / "log") as log:
        log.append({"loss": 1.0}, 0)
        position = log.position()
        log.append({"loss": 2.0}, 1)
    with MetricsLog(tmp_path / "log", holds_resumable_lines=True) as log:
        log.append({"begun": 1})
        assert log.holds(position)
        log.rewind(position)
        log.append({"loss": 3.0}, 1)

    assert (tmp_path / "log").read_text() == '{"step": 0, "loss": 1.0}\n{"step": 1, "loss": 3.0}\n'


def test_until_it_is_settled_a_resumable_log_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "log").write_text('{"loss": 1.0}\n')
    with MetricsLog(tmp_path / "log", holds_resumable_lines=True) as log:
        log.append({"begun": 1})

    assert (tmp_path / "log").read_text() == '{"loss": 1.0}\n'


def test_a_resumable_log_that_was_not_rewound_holds_what_waited(tmp_path: Path) -> None:
    (tmp_path / "log").write_text('{"loss": 1.0}\n' * 9)
    with MetricsLog(tmp_path / "log", holds_resumable_lines=True) as log:
        log.append({"begun": 1})
        log.finish()

    assert (tmp_path / "log").read_text() == '{"begun": 1}\n'


@pytest.mark.parametrize("content", ["", '{"loss": 1.5}\n'])
def test_a_log_that_was_changed_does_not_hold_the_position(tmp_path: Path, content: str) -> None:
    with MetricsLog(tmp_path / "log") as log:
        log.append({"loss": 1.0})
        position = log.position()
    (tmp_path / "log").write_text(content)

    with MetricsLog(tmp_path / "log", holds_resumable_lines=True) as log:
        assert not log.holds(position)
