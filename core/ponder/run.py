"""Runs a recipe: each stage is taken from the store, or made, published by one rename, and tracked."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ponder.context import FinishedStage, StageContext, Surroundings
from ponder.entries import SECTIONS
from ponder.errors import Interrupted, PonderError, StageError
from ponder.lineage import stages_reached
from ponder.lock import DirectoryLock
from ponder.planning import PlannedStage, plan_recipe
from ponder.plugins import error_line
from ponder.signals import StopSignals
from ponder.storage import storage_errors
from ponder.store import StageRecord, Store, Workspace, located_options, read_stage
from ponder.tracking import SPOOL_FILE, NullTracker, SpooledTracker

if TYPE_CHECKING:
    from ponder.interfaces import Stage
    from ponder.plugins import Registry
    from ponder.progress import Display
    from ponder.recipe import Recipe

REPORT_FILE = "report.html"


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What a run of a recipe left."""

    stages: tuple[FinishedStage, ...]
    cached: frozenset[str]
    """The names of the stages that did not have to run."""
    tracker_ended: bool
    """False when the tracker hangs in its thread, which an ordinary exit of the process could wait for."""

    @property
    def report(self) -> Path | None:
        """The report of the last stage that made one."""
        reports = [stage.directory / REPORT_FILE for stage in self.stages]
        return next((path for path in reversed(reports) if path.exists()), None)


def run_recipe(
    recipe: Recipe, registry: Registry, runs: Path, display: Display, *, until: str | None = None
) -> RunOutcome:
    """Run what is missing of the recipe's stages, up to and including the stage `until`.

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
                tracker = _tracker(recipe, store, display, is_needed=not all(stage.is_cached for stage in plan))
                return _Run(Surroundings(recipe, registry, tracker, display, signals), store).run(plan)
        except KeyboardInterrupt:
            raise signals.interruption("finished stages are kept; the same command continues") from None


class _Run:
    def __init__(self, run: Surroundings, store: Store) -> None:
        self._run = run
        self._store = store
        self._finished: dict[str, FinishedStage] = {}

    def run(self, plan: list[PlannedStage]) -> RunOutcome:
        recipe = self._run.recipe
        try:
            with _tracked(self._run.tracker, recipe.name, {"seed": recipe.seed}):
                for stage in plan:
                    self._finished[stage.entry.name] = self._obtain(stage)
        finally:
            ended = self._run.tracker.close()
        cached = frozenset(stage.entry.name for stage in plan if stage.is_cached)
        return RunOutcome(tuple(self._finished.values()), cached, ended)

    def _obtain(self, stage: PlannedStage) -> FinishedStage:
        name, fingerprint = stage.entry.name, stage.identity.fingerprint
        if stage.is_cached:
            finished = read_stage(self._store.published(fingerprint))
            self._run.display.say(f"{name}: done before")
        else:
            self._announce(stage)
            finished = self._make(stage)
        self._store.link(self._run.recipe.name, name, fingerprint)
        self._store.discard_work(fingerprint)
        return finished

    def _announce(self, stage: PlannedStage) -> None:
        self._run.display.say(f"{stage.entry.name}: {stage.entry.type}, {stage.reason}")
        if stage.sentence:
            self._run.display.say(f"  {stage.sentence}")

    def _make(self, stage: PlannedStage) -> FinishedStage:
        name, fingerprint = stage.entry.name, stage.identity.fingerprint
        params = {"type": stage.entry.type, **stage.entry.options, "fingerprint": fingerprint}
        with _tracked(self._run.tracker, name, params), self._boundary(stage):
            with self._store.open_workspace(fingerprint) as workspace:
                finished = self._run_stage(stage, workspace)
            self._run.tracker.log(finished.result.metrics)
            self._run.tracker.published(finished.directory)
        self._traceback_file(stage).unlink(missing_ok=True)
        return finished

    def _run_stage(self, stage: PlannedStage, workspace: Workspace) -> FinishedStage:
        hook = self._run.registry.hook
        with StageContext(stage.entry, self._run, workspace, dict(self._finished)) as context:
            self._observe(hook.ponder_stage_started, context=context)
            component: Stage = stage.entry.component.make(stage.entry.config)
            result = component.run(context)
            context.finish()
        finished = workspace.publish(self._record(stage), result)
        self._observe(hook.ponder_stage_finished, context=context, result=finished.result)
        return finished

    def _observe(self, hook: Callable[..., object], **arguments: object) -> None:
        """Tell the plugins that watch; a run does not depend on who watches it."""
        try:
            hook(**arguments)
        except Exception as error:
            self._run.display.say(f"a plugin that watches the run failed: {error_line(error)}; the run goes on")

    def _record(self, stage: PlannedStage) -> StageRecord:
        entry, identity, recipe = stage.entry, stage.identity, self._run.recipe
        root = None if stage.policy is None else recipe.policies[stage.policy]
        entries = {kind: getattr(recipe, section) for kind, section in SECTIONS.items()}
        parents = {name: self._finished[name].fingerprint for name in stages_reached(entries, entry)}
        options = {
            "options": entry.options,
            "seed": recipe.seed,
            "policy": root and {"name": root.name, "type": root.type, "options": located_options(root)},
            "made_from": identity.ingredients,
        }
        return StageRecord(entry.name, entry.type, identity.fingerprint, parents, options)

    @contextmanager
    def _boundary(self, stage: PlannedStage) -> Iterator[None]:
        """Whatever goes wrong in a stage becomes one paragraph for the user."""
        name = stage.entry.name
        kept = ", ".join(self._finished) or "nothing yet"
        try:
            with storage_errors(
                self._store.runs,
                f"stage {name} was running",
                f"Kept are the finished stages ({kept}) and the last checkpoint of {name}, if it has one.",
            ):
                yield
        except PonderError:
            raise
        except KeyboardInterrupt:
            raise self._run.signals.interruption(
                f"stage {name}; the same command continues from its last checkpoint"
            ) from None
        except (Exception, SystemExit) as error:
            raise StageError(self._explain(stage, error)) from error

    def _explain(self, stage: PlannedStage, error: BaseException) -> str:
        path = self._traceback_file(stage)
        with suppress(OSError):
            path.write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="replace")
        plugin = self._run.registry.distribution_of("stage", stage.entry.type)
        return (
            f"stage {stage.entry.name!r} ({stage.entry.type} of {plugin}) failed: {error_line(error)}. "
            f"The whole traceback is in {path}. What earlier stages made is kept, and so is this stage's last checkpoint."
        )

    def _traceback_file(self, stage: PlannedStage) -> Path:
        return self._store.run_directory(self._run.recipe.name) / f"{stage.entry.name}.traceback.txt"


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
