from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ponder.checkpoints import Checkpoint, Checkpoints
from ponder.metrics import LogPosition

POSITION = LogPosition(12, "ab" * 32)


def save(content: str) -> Callable[[Path], None]:
    def write(directory: Path) -> None:
        (directory / "weights.bin").write_text(content)
        (directory / "state.json").write_text(json.dumps({"content": content}))

    return write


def newest(checkpoints: Checkpoints, said: list[str] | None = None) -> Checkpoint | None:
    return checkpoints.newest(lambda checkpoint: True, (said if said is not None else []).append)


@pytest.fixture
def three(tmp_path: Path) -> Checkpoints:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        checkpoints.commit(step, save(f"step {step}"), [POSITION])
    return checkpoints


def test_the_newest_checkpoint_comes_back_with_its_step_and_log_positions(three: Checkpoints) -> None:
    checkpoint = newest(three)

    assert checkpoint is not None
    assert (checkpoint.step, checkpoint.logs) == (3, (POSITION,))
    assert (checkpoint.state / "weights.bin").read_text() == "step 3"


def test_two_checkpoints_are_kept(three: Checkpoints, tmp_path: Path) -> None:
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]


def test_without_a_checkpoint_there_is_nothing_to_restore(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "absent")

    assert not checkpoints.exist()
    assert newest(checkpoints) is None


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-3]),
    "empty": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
    "bit-flipped": lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
    "extra": lambda path: (path.parent / "stranger").write_text("who am I"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["state/weights.bin", "state/state.json", "position.json", "manifest.json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(
    three: Checkpoints, tmp_path: Path, file: str, damage: str
) -> None:
    DAMAGES[damage](tmp_path / "step-00000003" / file)
    said: list[str] = []
    checkpoint = newest(three, said)

    assert checkpoint is not None and checkpoint.step == 2
    assert len(said) == 1
    assert said[0].startswith("checkpoint step-00000003 is damaged (")


def test_a_damaged_file_is_named_with_both_sums(three: Checkpoints, tmp_path: Path) -> None:
    DAMAGES["bit-flipped"](tmp_path / "step-00000003" / "state" / "weights.bin")
    said: list[str] = []
    newest(three, said)

    assert "weights.bin has SHA-256" in said[0] and "manifest.json says" in said[0]


def test_a_file_of_another_checkpoint_does_not_pass(three: Checkpoints, tmp_path: Path) -> None:
    shutil.copy(tmp_path / "step-00000002/state/weights.bin", tmp_path / "step-00000003/state/weights.bin")
    checkpoint = newest(three)

    assert checkpoint is not None and checkpoint.step == 2


def test_when_all_are_damaged_the_loop_starts_again(three: Checkpoints, tmp_path: Path) -> None:
    for directory in tmp_path.glob("step-*"):
        (directory / "manifest.json").unlink()

    assert newest(three) is None
    assert not three.exist()


def test_a_checkpoint_whose_logs_are_not_there_is_passed_over(three: Checkpoints) -> None:
    said: list[str] = []
    checkpoint = three.newest(lambda checkpoint: checkpoint.step < 3, said.append)

    assert checkpoint is not None and checkpoint.step == 2
    assert "the logs beside it" in said[0]


def test_a_step_that_was_walked_back_over_can_be_committed_again(three: Checkpoints, tmp_path: Path) -> None:
    DAMAGES["empty"](tmp_path / "step-00000003" / "state" / "weights.bin")
    newest(three)
    three.commit(3, save("step 3 again"), [POSITION])
    checkpoint = newest(three)

    assert checkpoint is not None
    assert (checkpoint.state / "weights.bin").read_text() == "step 3 again"


def test_a_save_that_fails_leaves_the_older_checkpoints_and_no_remains(three: Checkpoints, tmp_path: Path) -> None:
    def fail(directory: Path) -> None:
        (directory / "half").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        three.commit(4, fail, [POSITION])

    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]


def test_what_a_killed_process_left_unfinished_is_removed(three: Checkpoints, tmp_path: Path) -> None:
    (tmp_path / "tmp-4-123" / "state").mkdir(parents=True)
    three.commit(4, save("step 4"), [POSITION])

    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000004"]
