from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ponder.errors import InputError, StorageError
from ponder.storage import storage_errors

InAChild = Callable[[Callable[[], int]], int]


def test_a_run_on_a_full_disk_ends_with_74_at_any_size_and_continues_once_there_is_space(
    laboratory: Any, tmp_path_factory: pytest.TempPathFactory, in_a_child: InAChild
) -> None:
    laboratory.run()
    expected = laboratory.outputs()

    for limit in (0, 40, 100, 300, 650, 699):
        trial = type(laboratory)(tmp_path_factory.mktemp("trial"), laboratory.plugin)
        recipe = trial.recipe()

        def on_a_full_disk(trial: Any = trial, recipe: Any = recipe, limit: int = limit) -> int:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            try:
                trial.execute(recipe)
            except StorageError as error:
                return error.exit_code
            return 0

        assert in_a_child(on_a_full_disk) == 74, limit
        trial.run()
        assert trial.outputs() == expected, limit


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
def test_no_space_is_said_wherever_it_came_from(tmp_path: Path, number: int) -> None:
    with pytest.raises(StorageError, match=os.strerror(number)), storage_errors(tmp_path, "testing", "All is kept."):
        raise OSError(number, os.strerror(number))


def test_the_text_says_what_where_what_is_kept_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught, storage_errors(tmp_path, "stage sft was running", "All is kept."):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "weights"))

    text = str(caught.value)
    assert text.startswith(
        f"cannot write {tmp_path / 'weights'} while stage sft was running: No space left on device ("
    )
    assert text.endswith("MB are free there). All is kept. Make space, and the same command continues.")


def test_an_error_number_in_a_librarys_text_counts(tmp_path: Path) -> None:
    with pytest.raises(StorageError), storage_errors(tmp_path, "testing", ""):
        raise RuntimeError("Error while serializing: I/O error: Disk quota exceeded (os error 122)")


@pytest.mark.parametrize(
    "error", [ValueError("bad"), FileNotFoundError(2, "No such file", "x"), InputError("os error 28")]
)
def test_every_other_error_passes(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)), storage_errors(tmp_path, "testing", ""):
        raise error


def test_a_runs_directory_that_is_a_file_is_a_storage_error(laboratory: Any) -> None:
    laboratory.runs.write_text("not a directory")

    with pytest.raises(StorageError, match="write elsewhere with --runs DIR"):
        laboratory.run()
