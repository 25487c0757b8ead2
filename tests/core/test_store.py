from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ponder.durable import damage, read_json, seal, sha256, to_json
from ponder.errors import StageError
from ponder.store import StageRecord, Store, Workspace, read_stage, stages_in
from ponder.types import StageResult

RECORD = StageRecord("train", "count", "f" * 32, {"before": "e" * 32}, {"options": {"steps": 4}})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def make(store: Store, content: str = "weights") -> Path:
    with store.open_workspace(RECORD.fingerprint) as workspace:
        (workspace.directory / "policy").mkdir()
        (workspace.directory / "policy" / "weights").write_text(content)
        result = StageResult(policy=workspace.directory / "policy", metrics={"loss": 0.5, "never": float("nan")})
        return workspace.publish(RECORD, result).directory


def test_a_published_stage_reads_back_as_it_was(store: Store) -> None:
    stage = read_stage(make(store))

    assert (stage.name, stage.type, stage.fingerprint) == ("train", "count", "f" * 32)
    assert stage.options == {"steps": 4}
    assert stage.result.policy == stage.directory / "policy"
    assert stage.result.metrics["loss"] == 0.5
    assert stage.result.metrics["never"] != stage.result.metrics["never"]


def test_publishing_leaves_nothing_of_the_work(store: Store) -> None:
    directory = make(store)

    assert [path.name for path in directory.parent.iterdir()] == [directory.name]


def test_the_manifest_covers_every_file_but_itself(store: Store) -> None:
    directory = make(store)
    files = read_json(directory / "manifest.json")["files"]

    assert set(files) == {"options.json", "policy/weights", "result.json"}
    assert files["policy/weights"] == {"bytes": 7, "sha256": sha256(directory / "policy" / "weights")}


def test_what_is_not_there_has_not_been_made_yet(store: Store) -> None:
    assert store.problem("0" * 32) == "not made yet"


def test_a_whole_stage_has_no_problem(store: Store) -> None:
    make(store)

    assert store.problem(RECORD.fingerprint) is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"weight", "weights has 6 bytes, manifest.json says 7"),
        (b"weightz", "weights has SHA-256"),
        (None, "policy/weights is missing"),
    ],
)
def test_damage_is_told_in_a_phrase(store: Store, content: bytes | None, problem: str) -> None:
    weights = make(store) / "policy" / "weights"
    weights.unlink()
    if content is not None:
        weights.write_bytes(content)

    assert (store.problem(RECORD.fingerprint) or "").startswith(problem)


def test_a_manifest_that_cannot_be_read_is_damage(store: Store) -> None:
    (make(store) / "manifest.json").write_text("{")

    assert store.problem(RECORD.fingerprint) == "manifest.json is not readable"


def test_a_damaged_stage_is_replaced_when_it_is_made_again(store: Store) -> None:
    (make(store) / "policy" / "weights").write_text("rubbish")
    directory = make(store)

    assert store.problem(RECORD.fingerprint) is None
    assert (directory / "policy" / "weights").read_text() == "weights"


def test_a_link_is_replaced_in_one_step(store: Store, tmp_path: Path) -> None:
    directory = make(store)
    link = tmp_path / "runs" / "r1" / "train"
    link.parent.mkdir()
    link.symlink_to("../.store/elsewhere")
    store.link("r1", "train", RECORD.fingerprint)

    assert link.resolve() == directory.resolve()
    assert [path.name for path in link.parent.iterdir()] == ["train"]


def test_a_workspace_without_checkpoints_starts_empty(store: Store) -> None:
    with store.open_workspace("a" * 32) as workspace:
        (workspace.directory / "half").write_text("half")
    with store.open_workspace("a" * 32) as workspace:
        assert list(workspace.directory.iterdir()) == []


def test_a_workspace_with_a_checkpoint_keeps_what_was_written(store: Store) -> None:
    with store.open_workspace("a" * 32) as workspace:
        (workspace.directory / "samples-1").write_text("a sample")
        workspace.checkpoints.commit(1, lambda directory: None, [])
    with store.open_workspace("a" * 32) as workspace:
        assert (workspace.directory / "samples-1").exists()


def test_a_result_that_does_not_exist_is_refused(store: Store) -> None:
    with store.open_workspace("a" * 32) as workspace, pytest.raises(StageError, match="not in its directory"):
        workspace.publish(RECORD, StageResult(task=workspace.directory / "absent.jsonl"))


def test_everything_is_on_the_disk_before_the_rename_that_publishes_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[str] = set()
    renamed: dict[str, set[str]] = {}
    fsync, replace = os.fsync, Path.replace

    def noting_fsync(descriptor: int) -> None:
        synced.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def noting_replace(source: Path, target: Path) -> Path:
        content = {str(path) for path in [source, *source.rglob("*")]}
        renamed[target.name] = content - synced
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(Path, "replace", noting_replace)
    with store.open_workspace(RECORD.fingerprint) as workspace:
        (workspace.directory / "policy").mkdir()
        (workspace.directory / "policy" / "weights").write_text("weights")
        workspace.checkpoints.commit(1, lambda directory: (directory / "state").touch(), [])
        workspace.publish(RECORD, StageResult())

    assert renamed["step-00000001"] == set()
    assert renamed[RECORD.fingerprint] == set()
    assert str(store.published(RECORD.fingerprint).parent) in synced


def test_what_a_killed_process_left_of_a_published_stage_is_discarded(store: Store) -> None:
    directory = make(store)
    Workspace(store.work_directory(RECORD.fingerprint), directory).__exit__(None, None, None)
    store.discard_work(RECORD.fingerprint)

    assert [path.name for path in directory.parent.iterdir()] == [directory.name]


def test_the_stages_of_a_run_come_in_the_order_in_which_they_were_made(store: Store, tmp_path: Path) -> None:
    for name in ("b", "a"):
        with store.open_workspace(name * 32) as workspace:
            workspace.publish(StageRecord(name, "count", name * 32, {}, {"options": {}}), StageResult())
        store.link("r1", name, name * 32)
    (tmp_path / "runs" / "r1" / "tracking.jsonl").write_text("")

    assert [stage.name for stage in stages_in(tmp_path / "runs" / "r1")] == ["b", "a"]


def test_json_is_strict() -> None:
    value = {"nan": float("nan"), "inf": -float("inf"), "path": Path("a/b"), "pair": (1, True), "text": "\ud800 中文"}

    assert json.loads(to_json(value)) == {"nan": None, "inf": None, "path": "a/b", "pair": [1, True], "text": "? 中文"}


def test_unlisted_files_may_change_or_be_absent(tmp_path: Path) -> None:
    (tmp_path / "clock").write_text("12:00")
    seal(tmp_path, unlisted=("clock",))
    (tmp_path / "clock").write_text("13:00")
    assert damage(tmp_path) is None
    (tmp_path / "clock").unlink()
    assert damage(tmp_path) is None


def test_the_sum_of_a_directory_depends_on_names_and_contents(tmp_path: Path) -> None:
    sums = set()
    for name, content in (("a", "1"), ("a", "2"), ("b", "2")):
        directory = tmp_path / f"{name}{content}"
        directory.mkdir()
        (directory / name).write_text(content)
        sums.add(sha256(directory))

    assert len(sums) == 3
