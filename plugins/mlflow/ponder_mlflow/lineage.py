"""What a published stage was made from, read from the two files that lie beside what it made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIGEST_LENGTH = 32
"""Hexadecimal digits of a digest; MLflow takes 36 at most."""
_SECTIONS = ("tasks", "policies", "rewards", "samplers", "losses")
"""Parts of a stage's record that hold records of the same form."""

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Data:
    """A task that a stage read, or what an earlier stage wrote for it."""

    name: str
    digest: str
    """Equal for equal data: of a task, the hash of all that it is made of; of a stage, its fingerprint."""
    source: Mapping[str, object]
    """Where it is from, as JSON values."""
    use: str
    """The option that names it, such as `task` or `corpus`."""


@dataclass(frozen=True, slots=True)
class Publication:
    """A stage that is done."""

    name: str
    type: str
    options: Mapping[str, object]
    metrics: Mapping[str, float | None]
    fingerprint: str
    parents: Mapping[str, str]
    """Fingerprints of the stages it was made from, by name."""
    data: tuple[Data, ...]
    directory: Path
    model: Path | None
    """Where the model is that it trained: a policy or a reward model."""

    def parent(self, name: str) -> Path:
        """The directory of one of its parents, beside its own under the fingerprint."""
        return self.directory.parent / self.parents[name]


def read_publication(directory: Path) -> Publication:
    """The stage that was published in `directory`."""
    result, options = _read(directory / "result.json"), _read(directory / "options.json")
    return Publication(
        name=result["stage"],
        type=result["type"],
        options=options["options"],
        metrics=result["metrics"],
        fingerprint=result["fingerprint"],
        parents=result["parents"],
        data=_merged(_data(options["made_from"], directory.parent)),
        directory=directory,
        model=_model(directory, result["policy"]),
    )


def _model(directory: Path, policy: str | None) -> Path | None:
    if policy is not None:
        return directory / policy
    return next((path.parent for path in directory.glob("*/config.json")), None)


def _data(record: Record, store: Path) -> Iterator[Data]:
    """The data of a record and of the records in it: a policy's corpus, the parts of a mixture."""
    for name, task in record.get("tasks", {}).items():
        source = {"type": task["type"], "version": task["version"], **task["options"]}
        yield Data(name, _digest(task), source, _option_naming(record, name))
    for name, fingerprint in record.get("stages", {}).items():
        made = store / fingerprint
        if (made / "result.json").exists() and (written := _read(made / "result.json")["task"]):
            source = {"stage": name, "path": str(made / written)}
            yield Data(name, fingerprint, source, _option_naming(record, name))
    for section in _SECTIONS:
        for part in record.get(section, {}).values():
            yield from _data(part, store)


def _merged(found: Iterator[Data]) -> tuple[Data, ...]:
    """Each data once, with all its uses."""
    merged: dict[tuple[str, str], Data] = {}
    for data in found:
        same = merged.get((data.name, data.digest))
        uses = dict.fromkeys([*(same.use.split(", ") if same else []), data.use])
        merged[data.name, data.digest] = Data(data.name, data.digest, data.source, ", ".join(uses))
    return tuple(merged.values())


def _option_naming(record: Record, name: str) -> str:
    for option, value in record["options"].items():
        if value == name or (isinstance(value, list | dict) and name in value):
            return str(option)
    return record["type"] if isinstance(record["type"], str) else "task"


def _digest(record: Record) -> str:
    canonical = json.dumps(record, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:DIGEST_LENGTH]


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
