from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.journal import Journal

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "journal"
    with Journal(path) as journal:
        for step in range(3):
            journal.append(f"step {step}", {"rewards": [step, None, 0.1]})
    return path


def test_a_value_comes_back_in_another_process(path: Path) -> None:
    with Journal(path) as journal:
        assert journal.get("step 1") == {"rewards": [1, None, 0.1]}


def test_keys_come_in_the_order_in_which_they_were_appended(path: Path) -> None:
    with Journal(path) as journal:
        assert journal.keys() == ["step 0", "step 1", "step 2"]


def test_an_unknown_key_has_no_value(path: Path) -> None:
    with Journal(path) as journal:
        assert journal.get("step 9") is None


def test_a_value_appended_again_takes_the_place_of_the_first(path: Path) -> None:
    with Journal(path) as journal:
        journal.append("step 1", "new")
    with Journal(path) as journal:
        assert journal.get("step 1") == "new"
        assert journal.keys() == ["step 0", "step 1", "step 2"]


@pytest.mark.parametrize("value", ["\ud800 lone surrogate", float("inf"), 2**80, "中文"])
def test_what_json_files_may_not_hold_comes_back(path: Path, value: Any) -> None:
    with Journal(path) as journal:
        journal.append("odd", value)
    with Journal(path) as journal:
        assert journal.get("odd") == value


@settings(max_examples=30)
@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_any_json_comes_back(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    with Journal(path) as journal:
        for key, value in values.items():
            journal.append(key, value)
    with Journal(path) as journal:
        assert {key: journal.get(key) for key in journal.keys()} == values  # noqa: SIM118 - a journal is no mapping


def test_a_tail_torn_at_any_byte_is_cut_off_and_the_rest_is_kept(path: Path) -> None:
    whole = path.read_bytes()
    ends = [whole.index(record) + len(record) for record in _records(whole)]

    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with Journal(path) as journal:
            kept = journal.keys()
            journal.append("next", 1)
        assert kept == [f"step {step}" for step in range(sum(end <= length for end in ends))]
        with Journal(path) as journal:
            assert journal.keys() == [*kept, "next"]


def test_a_torn_and_repeated_record_leaves_the_same_bytes(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with Journal(path) as journal:
        journal.append("step 2", {"rewards": [2, None, 0.1]})

    assert path.read_bytes() == whole


def test_a_flipped_bit_ends_what_is_believed(path: Path) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[_starts(bytes(damaged))[1] + 10] ^= 1
    path.write_bytes(bytes(damaged))

    with Journal(path) as journal:
        assert journal.keys() == ["step 0"]


def test_a_tail_of_zeros_as_after_a_crash_is_cut_off(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(64))

    with Journal(path) as journal:
        assert len(journal.keys()) == 3
    assert path.read_bytes() == whole


def _starts(whole: bytes) -> list[int]:
    starts, offset = [], len(b"ponder journal 1\n")
    while offset < len(whole):
        starts.append(offset)
        offset += 8 + int.from_bytes(whole[offset : offset + 4], "little")
    return starts


def _records(whole: bytes) -> list[bytes]:
    starts = [*_starts(whole), len(whole)]
    return [whole[start:end] for start, end in pairwise(starts)]
