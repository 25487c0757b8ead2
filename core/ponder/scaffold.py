"""Packages to start from: the samples of `ponder.samples`, written out under another name."""

from __future__ import annotations

import builtins
import importlib.util
import io
import keyword
import os
import re
import shutil
import sys
import tempfile
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from ponder.components import Kind
from ponder.errors import InputError, StorageError
from ponder.plugins import Registry
from ponder.yaml_scalars import plain_scalar

_SAMPLES: Final = Path(__file__).parent / "samples"
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_LONGEST_NAME: Final = 40


@dataclass(frozen=True, slots=True)
class Package:
    """What was written."""

    folder: Path
    distribution: str
    module: str
    files: tuple[str, ...]


def write_package(registry: Registry, kind: Kind, name: str, into: Path) -> Package:
    """Write a package with a component of this kind and name into a new folder.

    InputError for a name that will not do or a folder that is there already; StorageError where nothing can be written.
    """
    _check_name(registry, kind, name)
    module = name if name.endswith(f"_{kind}") else f"{name}_{kind}"
    _check_module(module, name)
    target = into / module
    if target.exists() or target.is_symlink():
        raise InputError(
            f"{target} exists, and nothing is overwritten: choose another name, or another place with --into DIR"
        )
    try:
        into.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{module}-", dir=into))
        try:
            files = _fill(temporary, kind, name, module)
            temporary.chmod(0o755)
            temporary.rename(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error.strerror}; choose another place with --into DIR") from error
    main = next(file for file in files if file.startswith(module))
    return Package(target, module.replace("_", "-"), main, tuple(files))


def _check_name(registry: Registry, kind: Kind, name: str) -> None:
    if not _NAME.fullmatch(name) or name.endswith("_") or len(name) > _LONGEST_NAME:
        better = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        hint = f"; how about '{better}'?" if _NAME.fullmatch(better) and len(better) <= _LONGEST_NAME else ""
        raise InputError(
            f"{name!r} will not do as a name: up to {_LONGEST_NAME} lower-case letters, digits and '_', a letter first{hint}"
        )
    if keyword.iskeyword(name):
        raise InputError(f"{name!r} is a word of Python; choose another name")
    if not isinstance(plain_scalar(name), str):
        raise InputError(f"{name!r} is no text where a recipe names it, as in {{type: {name}}}; choose another name")
    if name in registry.names(kind):
        raise InputError(
            f"there is a {kind} '{name}' already, of {registry.offer(kind, name).distribution}: no two can have one name; choose another"
        )


def _check_module(module: str, name: str) -> None:
    if module in sys.stdlib_module_names or importlib.util.find_spec(module) is not None:
        raise InputError(
            f"a module '{module}' is installed already, which a package for '{name}' would hide; choose another name"
        )


def _fill(folder: Path, kind: Kind, name: str, module: str) -> list[str]:
    """Copy the sample, with the names put in; the files' names, relative to the folder."""
    core = version("ponder")
    major, minor = core.split(".")[:2]
    sources = [
        path for root in (_SAMPLES / "common", _SAMPLES / kind) for path in sorted(root.rglob("*")) if _is_text(path)
    ]
    names = {
        **dict.fromkeys((f"untitled_{kind}", "untitled_a_kind"), module),
        **dict.fromkeys((f"untitled-{kind}", "untitled-a_kind"), module.replace("_", "-")),
        "untitled": name,
        "Untitled": _class_name(kind, name, [path for path in sources if path.suffix == ".py"]),
        "a_kind": kind,
        "ponder_versions": f"ponder>={core},<{major}.{int(minor) + 1}",
    }
    files = []
    for source in sources:
        root = _SAMPLES / "common" if source.is_relative_to(_SAMPLES / "common") else _SAMPLES / kind
        relative = _named(str(source.relative_to(root)), names)
        (folder / relative).parent.mkdir(parents=True, exist_ok=True)
        (folder / relative).write_text(_named(source.read_text(encoding="utf-8"), names), encoding="utf-8")
        files.append(relative.replace(os.sep, "/"))
    return sorted(files, key=lambda file: (file.count("/"), file))


def _class_name(kind: Kind, name: str, sources: Sequence[Path]) -> str:
    """What the sample's `Untitled` becomes; the kind is added where that, or a name made with it, means something else there."""
    words = {word for source in sources for word in _identifiers(source.read_text(encoding="utf-8"))}
    capitalised = "".join(part.capitalize() for part in name.split("_"))
    made = {word.replace("Untitled", capitalised) for word in words if "Untitled" in word}
    return f"{capitalised}{kind.capitalize()}" if made & {*words, *dir(builtins)} else capitalised


def _identifiers(source: str) -> Iterator[str]:
    return (
        token.string for token in tokenize.generate_tokens(io.StringIO(source).readline) if token.type == tokenize.NAME
    )


def _is_text(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


def _named(text: str, names: dict[str, str]) -> str:
    return re.sub("|".join(map(re.escape, names)), lambda found: names[found.group()], text)
