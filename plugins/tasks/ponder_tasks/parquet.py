"""Which Parquet files of a directory are which split."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_KEYWORDS: Final = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""The words by which the `datasets` library knows a split."""
_SPLIT_OF: Final = {word: split for split, words in _KEYWORDS.items() for word in words}
_KEYWORD: Final = re.compile(rf"(?:^|[-._ 0-9])({'|'.join(_SPLIT_OF)})(?=[-._ 0-9]|$)", re.IGNORECASE)
_SHARD: Final = re.compile(r"(\w+(?:\.\w+)*)-\d{5}-of-\d{5}.*")
"""How the hub names the files in its folder `data`, where a split may have any name."""
_SHARDS_FOLDER: Final = "data"
_DEFAULT: Final = "train"


def files_by_split(directory: Path) -> dict[str, list[Path]]:
    """The Parquet files of a directory by their splits, each in the order of their names.

    Files in folders count where the folder is called `data` or as a split: others may be other data sets.
    """
    splits: dict[str, list[Path]] = {}
    for file in sorted(_files(directory)):
        splits.setdefault(_split_of(file, directory), []).append(file)
    return splits


def _files(directory: Path) -> Iterable[Path]:
    for entry in directory.iterdir():
        if entry.suffix == ".parquet":
            yield entry
        elif entry.is_dir() and (entry.name == _SHARDS_FOLDER or _named(entry.name)):
            yield from _files(entry)


def _split_of(file: Path, directory: Path) -> str:
    """The split that the nearest folder inside the directory says, else the file's name; `train` when none does."""
    shard = _SHARD.fullmatch(file.stem)
    if shard and file.absolute().parent.name == _SHARDS_FOLDER:
        return shard[1]
    names = [*reversed(file.relative_to(directory).parent.parts), file.stem]
    return next((split for split in map(_named, names) if split), _DEFAULT)


def _named(name: str) -> str | None:
    found = _KEYWORD.search(name)
    return _SPLIT_OF[found[1].lower()] if found else None
