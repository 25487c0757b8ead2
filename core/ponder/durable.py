"""Files that survive a crash: strict JSON, writes that are whole or absent, directories with a manifest of SHA-256 sums."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"


def to_json(value: object, *, indent: int | None = None) -> str:
    """Strict JSON, keys in their own order: NaN and the infinities become null, records mappings, paths texts."""
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, indent=indent)


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # UTF-8 has no lone surrogates
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [_plain(item) for item in value]
    return str(value)


def read_json(path: Path) -> Any:
    """The value in a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, value: object) -> None:
    """Write a JSON file, durable once this returns; not atomic: for files in a directory that is renamed as a whole."""
    path.write_text(to_json(value, indent=2) + "\n", encoding="utf-8")
    sync(path)


def sync(path: Path) -> None:
    """Wait until a file's content, or a directory's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename_durably(source: Path, target: Path) -> None:
    """Rename within one directory's file system, durable once this returns."""
    source.replace(target)
    sync(target.parent)


def point_link(link: Path, target: Path) -> None:
    """Make `link` a relative symbolic link to `target`, replacing the old one in a single step."""
    link.parent.mkdir(parents=True, exist_ok=True)
    fresh = link.with_name(f".{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(os.path.relpath(target, link.parent))
    rename_durably(fresh, link)


def sha256(path: Path) -> str:
    """The hexadecimal SHA-256 of a file's content, or of the names and contents of all files in a directory."""
    if path.is_dir():
        listing = "\n".join(f"{sha256(path / name)} {name}" for name in sorted(_file_names(path)))
        return hashlib.sha256(listing.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(directory: Path, unlisted: Sequence[str] = ()) -> None:
    """Make everything in a directory durable and write its manifest: the size and SHA-256 of every other file.

    Files that are `unlisted` may be there or not, with any content.
    """
    for path in _walk(directory):
        sync(path)
    files = {
        name: {"bytes": (directory / name).stat().st_size, "sha256": sha256(directory / name)}
        for name in sorted(_file_names(directory).difference(unlisted))
    }
    write_json(directory / MANIFEST, {"files": files, "unlisted": unlisted})
    sync(directory)


def damage(directory: Path) -> str | None:
    """What differs between a sealed directory and its manifest, in a phrase; None when it is whole."""
    try:
        manifest = read_json(directory / MANIFEST)
        files = manifest["files"]
        present = _file_names(directory).difference(manifest["unlisted"])
        if present != set(files):
            return _difference(present, set(files))
        return next(filter(None, (_file_damage(directory / name, files[name]) for name in sorted(files))), None)
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (ValueError, KeyError, TypeError):
        return f"{MANIFEST} is not readable"


def _file_names(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in _walk(directory) if path.is_file()} - {MANIFEST}


def _difference(present: set[str], listed: set[str]) -> str:
    missing = sorted(listed - present)
    return f"{missing[0]} is missing" if missing else f"{min(present - listed)} is not in {MANIFEST}"


def _file_damage(path: Path, entry: Mapping[str, object]) -> str | None:
    size = path.stat().st_size
    if size != entry["bytes"]:
        return f"{path.name} has {size:,} bytes, {MANIFEST} says {entry['bytes']:,}"
    found = sha256(path)
    if found != entry["sha256"]:
        return f"{path.name} has SHA-256 {found[:12]}..., {MANIFEST} says {str(entry['sha256'])[:12]}..."
    return None


def _walk(directory: Path) -> Iterator[Path]:
    """Every file and directory below, in a fixed order; symbolic links are not followed."""
    for path in sorted(directory.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
