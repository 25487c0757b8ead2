"""Runs a recipe: each stage is taken from the store, or made, published by one rename, and tracked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ponder.context import FinishedStage, Surroundings
from ponder.errors import Interrupted
from ponder.lock import DirectoryLock
from ponder.making import make_stage, tracked_params
from ponder.planning import PlannedStage, plan_recipe
from ponder.scheduling import Scheduler
from ponder.signals import StopSignals
from ponder.stage_server import StageServer
from ponder.storage import storage_errors
from ponder.store import Store, read_stage
from ponder.tracking import SPOOL_FILE, NullTracker, SpooledTracker

if TYPE_CHECKING:
    from ponder.plugins import Registry
    from ponder.progress import Display
    from ponder.recipe import Recipe

REPORT_FILE = "report.html"


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What a run of a recipe left."""

    directory: Path
    """Where the recipe's stages are linked by their names."""
    stages: tuple[FinishedStage, ...]
    cached: frozenset[str]
    """The names of the stages that did not have to run."""
    tracker_ended: bool
    """False when the tracker hangs in its thread, which an ordinary exit of the process could wait for."""

    @property
    def report(self) -> Path | None:
        """The report of the last stage that made one, where it stays the same path when it is made again."""
        reports = [self.directory / stage.name / REPORT_FILE for stage in self.stages]
        return next((path for path in reversed(reports) if path.exists()), None)


def run_recipe(
    recipe: Recipe, registry: Registry, runs: Path, display: Display, *, until: str | None = None, jobs: int = 1
) -> RunOutcome:
    """Run what is missing of the recipe's stages, up to and including the stage `until`.

    With more than one of `jobs`, stages that do not need each other are made side by side, each in a process of its own.

    Raises PonderError: StageError when a stage fails, StorageError for no space or no access, BusyError when another
    process runs this recipe or makes the same stage, Interrupted after SIGINT or SIGTERM.
    """
    store = Store(runs)
    directory = store.run_directory(recipe.name)
    doing = f"recipe {recipe.name} was running"
    with StopSignals() as signals, storage_errors(store.runs, doing, "Finished stages are kept."):
        try:
            with DirectoryLock(directory):
                plan = plan_recipe(recipe, registry, store, until)
                missing = sum(not stage.is_cached for stage in plan)
                # Before the tracker has a thread: see `stage_server`.
                server = StageServer(recipe, registry, store, plan, jobs) if min(jobs, missing) > 1 else None
                tracker = _tracker(recipe, store, display, is_needed=missing > 0)
                run = _Run(recipe, registry, store, display, signals, tracker)
                return run.run(plan, None if server is None else run.scheduler(plan, server, jobs))
        except KeyboardInterrupt:
            raise signals.interruption("finished stages are kept; the same command continues") from None


class _Run:
    def __init__(
        self,
        recipe: Recipe,
        registry: Registry,
        store: Store,
        display: Display,
        signals: StopSignals,
        tracker: SpooledTracker | NullTracker,
    ) -> None:
        self._recipe = recipe
        self._registry = registry
        self._store = store
        self._display = display
        self._signals = signals
        self._tracker = tracker
        self._finished: dict[str, FinishedStage] = {}

    def run(self, plan: list[PlannedStage], scheduler: Scheduler | None) -> RunOutcome:
        """Every stage of the plan, one after the other or as the scheduler has it."""
        try:
            with _tracked(self._tracker, self._recipe.name, {"seed": self._recipe.seed}):
                if scheduler is None:
                    for stage in plan:
                        self._keep(self._cached(stage) if stage.is_cached else self._made(stage))
                else:
                    for stage in plan:
                        if stage.is_cached:
                            self._keep(self._cached(stage))
                    for made in scheduler.run(self._signals, self._announce):
                        self._keep(made)
        finally:
            ended = self._tracker.close()
        in_order = tuple(self._finished[stage.entry.name] for stage in plan)
        cached = frozenset(stage.entry.name for stage in plan if stage.is_cached)
        return RunOutcome(self._store.run_directory(self._recipe.name), in_order, cached, ended)

    def scheduler(self, plan: list[PlannedStage], server: StageServer, jobs: int) -> Scheduler:
        """What makes the plan's stages side by side."""
        return Scheduler(self._recipe, plan, self._store, server, self._display, self._tracker, jobs)

    def _cached(self, stage: PlannedStage) -> FinishedStage:
        self._display.say(f"{stage.entry.name}: done before")
        return read_stage(self._store.published(stage.identity.fingerprint))

    def _made(self, stage: PlannedStage) -> FinishedStage:
        self._announce(stage)
        surroundings = Surroundings(self._recipe, self._registry, self._tracker, self._display, self._signals)
        with _tracked(self._tracker, stage.entry.name, tracked_params(stage)):
            made = make_stage(stage, surroundings, self._store, self._finished)
            self._tracker.log(made.result.metrics)
            self._tracker.published(made.directory)
        return made

    def _keep(self, made: FinishedStage) -> None:
        self._store.link(self._recipe.name, made.name, made.fingerprint)
        self._store.discard_work(made.fingerprint)
        self._finished[made.name] = made

    def _announce(self, stage: PlannedStage) -> None:
        self._display.say(f"{stage.entry.name}: {stage.entry.type}, {stage.reason}")
        if stage.sentence:
            self._display.say(f"  {stage.sentence}")


@contextmanager
def _tracked(tracker: SpooledTracker | NullTracker, name: str, params: Mapping[str, object]) -> Iterator[None]:
    tracker.start(name, params)
    status = "failed"
    try:
        yield
        status = "finished"
    except (Interrupted, KeyboardInterrupt):
        status = "killed"
        raise
    finally:
        tracker.finish(status)


def _tracker(recipe: Recipe, store: Store, display: Display, *, is_needed: bool) -> SpooledTracker | NullTracker:
    """The recipe's tracker; none when nothing is going to happen."""
    entry = recipe.tracker
    if entry is None or not is_needed:
        return NullTracker()
    build = partial(entry.component.make, entry.config, runs=store.runs)
    return SpooledTracker(build, store.run_directory(recipe.name) / SPOOL_FILE, display.say)
