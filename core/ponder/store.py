"""The content-addressed store of what stages made, and the directories in which they are being made."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ponder.checkpoints import Checkpoints
from ponder.context import FinishedStage
from ponder.durable import MANIFEST, damage, point_link, read_json, rename_durably, seal, write_json
from ponder.errors import BusyError, StageError
from ponder.lock import DirectoryLock
from ponder.metrics import TIMINGS_FILE
from ponder.types import StageResult

if TYPE_CHECKING:
    from ponder.recipe import Entry

RESULT_FILE = "result.json"
OPTIONS_FILE = "options.json"

_REMOVED = ".removed-"


@dataclass(frozen=True, slots=True)
class StageRecord:
    """What is written beside a stage's outputs."""

    name: str
    type: str
    fingerprint: str
    parents: Mapping[str, str]
    """The fingerprints of the stages it refers to, by name."""
    options: Mapping[str, object]
    """The content of `options.json`: the stage's options and everything else needed to use what it made."""


class Store:
    """`<runs>/.store/<fingerprint>` for what is done, `.work-<fingerprint>` beside it for what is not."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs.absolute()
        self._root = self.runs / ".store"

    def run_directory(self, recipe_name: str) -> Path:
        """Where the stages of a recipe are linked."""
        return self.runs / recipe_name

    def published(self, fingerprint: str) -> Path:
        """The directory of a finished stage, whether it exists or not."""
        return self._root / fingerprint

    def problem(self, fingerprint: str) -> str | None:
        """Why a finished stage cannot be used, in a phrase: it does not exist, or is damaged; None when it can."""
        directory = self.published(fingerprint)
        return damage(directory) if directory.exists() else "not made yet"

    def work_directory(self, fingerprint: str) -> Path:
        """Where a stage is made."""
        return self._root / f".work-{fingerprint}"

    def open_workspace(self, fingerprint: str) -> Workspace:
        """Lock a stage's work directory; raises BusyError when another process makes the same stage."""
        return Workspace(self.work_directory(fingerprint), self.published(fingerprint))

    def link(self, recipe_name: str, stage: str, fingerprint: str) -> None:
        """Make `<runs>/<recipe>/<stage>` stand for this result."""
        link = self.run_directory(recipe_name) / stage
        target = self.published(fingerprint)
        if not link.is_symlink() or link.resolve() != target.resolve():
            point_link(link, target)

    def discard_work(self, fingerprint: str) -> None:
        """Remove what a killed process left of making stages, this published one above all."""
        for leftover in self._root.glob(f"{_REMOVED}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        if self.work_directory(fingerprint).exists():
            with suppress(BusyError), self.open_workspace(fingerprint) as workspace:
                workspace.remove()


class Workspace:
    """The locked directory in which one stage is made: `out` is published, `checkpoints` and `journals` are not."""

    def __init__(self, root: Path, published: Path) -> None:
        self._resources = ExitStack()
        self._resources.enter_context(DirectoryLock(root))
        self._root = root
        self._published = published
        self.fingerprint = published.name
        self.directory = root / "out"
        self.journals = root / "journals"
        self.checkpoints = Checkpoints(root / "checkpoints")
        if not self.has_checkpoints():
            shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(exist_ok=True)

    def has_checkpoints(self) -> bool:
        """Whether the stage can go on from where a loop of it stood."""
        return self.checkpoints.exist()

    def published_path(self, path: Path) -> Path:
        """Where a file of `directory` is once the stage is published."""
        return self._published / path.relative_to(self.directory)

    def publish(self, record: StageRecord, result: StageResult) -> FinishedStage:
        """Seal the outputs and move them into the store with one rename; a damaged older result makes room."""
        write_json(self.directory / RESULT_FILE, _result_json(record, result, self.directory))
        write_json(self.directory / OPTIONS_FILE, record.options)
        seal(self.directory, unlisted=(TIMINGS_FILE,))
        if self._published.exists():
            replaced = self._root / "replaced"
            shutil.rmtree(replaced, ignore_errors=True)
            self._published.replace(replaced)
        rename_durably(self.directory, self._published)
        self.remove()
        return read_stage(self._published)

    def remove(self) -> None:
        """Remove the work directory, in one step for whoever waits for its lock."""
        doomed = self._root.with_name(f"{_REMOVED}{self.fingerprint}-{os.getpid()}")
        self._root.replace(doomed)
        # Another process that tidies up may be at the same files.
        shutil.rmtree(doomed, ignore_errors=True)

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()


def located_options(entry: Entry) -> dict[str, object]:
    """An entry's options as plain data with the paths absolute: enough to build it again without its recipe."""
    return {field.name: getattr(entry.config, field.name) for field in fields(entry.config) if field.init}


def read_stage(directory: Path) -> FinishedStage:
    """A published stage; raises FileNotFoundError when `directory` is none."""
    result = read_json(directory / RESULT_FILE)
    metrics = {name: float("nan") if value is None else value for name, value in result["metrics"].items()}
    made = StageResult(_below(directory, result["policy"]), _below(directory, result["task"]), metrics)
    options = read_json(directory / OPTIONS_FILE)["options"]
    name, type_, parents = result["stage"], result["type"], result["parents"]
    return FinishedStage(name, type_, directory, made, result["fingerprint"], options, parents)


def stages_in(run_directory: Path) -> list[FinishedStage]:
    """The finished stages that a run's directory links to, in the order in which they were made."""
    links = [path for path in run_directory.iterdir() if (path / RESULT_FILE).exists()]
    made = sorted(links, key=lambda path: (path / MANIFEST).stat().st_mtime_ns)
    return [read_stage(path.resolve()) for path in made]


def _below(directory: Path, name: str | None) -> Path | None:
    return None if name is None else directory / name


def _result_json(record: StageRecord, result: StageResult, directory: Path) -> dict[str, object]:
    if not isinstance(result, StageResult):
        raise StageError(f"stage {record.name!r} returned {type(result).__name__}, not a StageResult")
    return {
        "stage": record.name,
        "type": record.type,
        "policy": _relative(record.name, result.policy, directory),
        "task": _relative(record.name, result.task, directory),
        "metrics": result.metrics,
        "fingerprint": record.fingerprint,
        "parents": record.parents,
    }


def _relative(stage: str, path: Path | None, directory: Path) -> str | None:
    if path is None:
        return None
    inside = path if path.is_absolute() else directory / path
    if not inside.resolve().is_relative_to(directory.resolve()) or not inside.exists():
        raise StageError(f"stage {stage!r} returned {path}, which is not in its directory {directory}")
    return inside.resolve().relative_to(directory.resolve()).as_posix()
