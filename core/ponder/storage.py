"""Tells a full disk or a missing permission from every other error, and says what to do about it."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ponder.errors import PonderError, StorageError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_ACCESS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}

# How libraries written in Rust, safetensors among them, carry an errno in their texts.
_OS_ERROR = re.compile(r"os error (\d+)")


@contextmanager
def storage_errors(runs: Path, doing: str, kept: str) -> Iterator[None]:
    """Turn what goes wrong with writing below `runs` into a StorageError: `doing` says during what, `kept` what is safe."""
    try:
        yield
    except PonderError:
        raise
    except Exception as error:
        number = _errno(error)
        if not _concerns(number, error, runs):
            raise
        raise StorageError(_explain(number, error, runs, doing, kept)) from error


def _errno(error: Exception) -> int:
    if isinstance(error, OSError) and error.errno:
        return error.errno
    found = _OS_ERROR.search(str(error))
    return int(found[1]) if found else 0


def _concerns(number: int, error: Exception, runs: Path) -> bool:
    """No space is always ours to explain; no access only where the run writes, not where a stage reads its input."""
    if number in _NO_SPACE or number == errno.EROFS:
        return True
    path = _path(error)
    return number in _NO_ACCESS | {errno.EIO} and path is not None and path.absolute().is_relative_to(runs.absolute())


def _path(error: Exception) -> Path | None:
    name = getattr(error, "filename2", None) or getattr(error, "filename", None)
    return Path(os.fsdecode(name)) if isinstance(name, str | bytes) else None


def _explain(number: int, error: Exception, runs: Path, doing: str, kept: str) -> str:
    where = _path(error) or runs
    remedy = "make space" if number in _NO_SPACE else "make the directory writable, or write elsewhere with --runs DIR"
    return (
        f"cannot write {where} while {doing}: {os.strerror(number)}{_free_space(number, runs)}. {kept} "
        f"{remedy[0].upper()}{remedy[1:]}, and the same command continues."
    )


def _free_space(number: int, runs: Path) -> str:
    if number not in _NO_SPACE:
        return ""
    existing = next(path for path in (runs, *runs.parents) if path.exists())
    return f" ({shutil.disk_usage(existing).free / 1e6:,.1f} MB are free there)"
