"""What a stage is given: its directory, its seed, the things its options name, and the loop that can be interrupted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from ponder import building
from ponder.errors import InputError
from ponder.journal import Journal
from ponder.metrics import METRICS_FILE, TIMINGS_FILE, MetricsLog
from ponder.randomness import derive_seed
from ponder.steps import StepLoop
from ponder.types import StageResult

if TYPE_CHECKING:
    from ponder.interfaces import Loss, Policy, Sampler, Task
    from ponder.plugins import Registry
    from ponder.progress import Screen
    from ponder.recipe import Entry, Recipe
    from ponder.rubric import Rubric
    from ponder.signals import StopSignals
    from ponder.store import Workspace
    from ponder.tracking import Tracking


class Checkpointable(Protocol):
    """What a loop needs back to go on as if it had never stopped."""

    def save(self, directory: Path) -> None:
        """Write everything that later steps depend on into `directory`, which exists and is empty."""
        ...

    def load(self, directory: Path) -> None:
        """Restore what `save` wrote."""
        ...


@dataclass(frozen=True, slots=True)
class FinishedStage:
    """An earlier stage, as later stages and the report see it."""

    name: str
    type: str
    directory: Path
    result: StageResult
    fingerprint: str
    options: Mapping[str, object]
    parents: Mapping[str, str] = field(default_factory=dict)
    """Fingerprints of the stages it was made from, directly or through tasks and rewards, by name."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a run shares among its stages."""

    recipe: Recipe
    registry: Registry
    tracker: Tracking
    display: Screen
    signals: StopSignals


class StageContext:
    """A stage's view of the run.

    `directory` is where the stage writes, and only there; it is published by one rename when `run` returns. After an
    interruption it still holds what was written before: write whole files, and leave appending to `log` and `journal`.
    """

    def __init__(
        self, entry: Entry, run: Surroundings, workspace: Workspace, finished: Mapping[str, FinishedStage]
    ) -> None:
        self.name = entry.name
        self.seed = derive_seed(run.recipe.seed, entry.name)
        self.recipe_name = run.recipe.name
        self.directory = workspace.directory
        self.fingerprint = workspace.fingerprint
        self._run = run
        self._workspace = workspace
        self._finished = finished
        self._resources = ExitStack()
        is_resumable = workspace.has_checkpoints()
        self._metrics = self._open_log(METRICS_FILE, is_resumable)
        self._timings = self._open_log(TIMINGS_FILE, is_resumable)
        self._loop = StepLoop(entry.name, workspace.checkpoints, (self._metrics, self._timings), run)
        self._timings.append({"started": time.time()})

    def policy(self, name: str) -> Policy:
        """A fresh object of a policies entry, or of the policy that an earlier stage made."""
        return building.build_policy(self._run.recipe, self._run.registry, self._finished, name)

    def task(self, name: str) -> Task:
        """A tasks entry, or the data that an earlier stage made."""
        return building.build_task(self._run.recipe, self._run.registry, self._finished, name)

    def sampler(self, name: str, **changes: object) -> Sampler:
        """A samplers entry, with some of its options replaced; raises InputError when it has no such option.

        One that has a method `close()`, such as for a server that it started, is closed when the stage ends.
        """
        sampler = building.build_sampler(self._run.recipe, name, changes)
        if close := getattr(sampler, "close", None):
            self._resources.callback(close)
        return sampler

    def loss(self, name: str) -> Loss:
        """A losses entry."""
        return building.build_loss(self._run.recipe, name)

    def rubric(self, names: Sequence[str]) -> Rubric:
        """The weighted sum of these rewards entries; its workers end with the stage.

        How far they are confined depends on the machine, so it goes to the timings: `rewards/confinement`, 0 to 3.
        """
        rubric = building.build_rubric(self._run.recipe, self._finished, names, self.say)
        self.timing({"rewards/confinement": float(rubric.tier)})
        return self._resources.enter_context(rubric)

    def stage(self, name: str) -> FinishedStage:
        """An earlier stage of the recipe."""
        if name not in self._finished:
            have = ", ".join(self._finished) or "none"
            raise InputError(f"stage {self.name!r} asks for stage {name!r}, which has not run before it; have: {have}")
        return self._finished[name]

    def steps(
        self,
        total: int,
        state: Checkpointable | None = None,
        *,
        checkpoint_every: int | None = None,
        description: str = "",
    ) -> Iterator[int]:
        """The steps 0..total-1 that are still to do, under a progress bar.

        `state` is restored from the newest whole checkpoint, the loop starts after it, and what was logged from there on
        is dropped. A checkpoint is committed every `checkpoint_every` steps, or else every 30 seconds, and at the end.
        SIGINT and SIGTERM let the step finish, commit, and raise `Interrupted`. With `state=None` the loop starts at 0
        (the stage replays its journal); a stage has one loop with a state, and as many without as it likes.
        """
        loop = self._loop.run(total, state, checkpoint_every, description or self.name)
        # Left by an exception, a loop would keep its bar and hold back signals for as long as the traceback lives.
        self._resources.callback(loop.close)
        return loop

    def expect_steps(self, total: int) -> None:
        """The loop that runs will probably end behind so many steps: a better guess for the progress bar than what `steps` was told."""
        self._loop.expect(total)

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a line to `metrics.jsonl` and tell the tracker: only numbers that are a function of the recipe, to the bit."""
        self._metrics.append(metrics, step)
        self._run.tracker.log(metrics, step)
        self._loop.show(metrics)

    def timing(self, measurements: Mapping[str, float], step: int | None = None) -> None:
        """The same for numbers that depend on the clock or the machine: they go to `timings.jsonl`."""
        self._timings.append(measurements, step)
        self._run.tracker.log(measurements, step)
        self._loop.show(measurements)

    def artifact(self, path: Path) -> None:
        """Hand a file under `directory` to the tracker; a `.jsonl` file is shown as a table."""
        self._run.tracker.artifact(path, published=self._workspace.published_path(path))

    def journal(self, name: str = "journal") -> Journal:
        """Results that must not be computed twice; read back by a resumed stage, gone once the stage is published."""
        return self._resources.enter_context(Journal(self._workspace.journals / f"{name}.journal"))

    def say(self, message: str) -> None:
        """One line for the user, above the progress bar."""
        self._run.display.say(message)

    def finish(self) -> None:
        """The stage is done: what it logged is all there is."""
        self._timings.append({"finished": time.time()})
        self._metrics.finish()
        self._timings.finish()

    def __enter__(self) -> StageContext:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    def _open_log(self, name: str, is_resumable: bool) -> MetricsLog:
        log = MetricsLog(self.directory / name, holds_resumable_lines=is_resumable)
        return self._resources.enter_context(log)
