"""Makes one stage in this process: from its options to a directory in the store, and from any failure to one paragraph."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ponder.context import FinishedStage, StageContext, Surroundings
from ponder.entries import SECTIONS
from ponder.errors import PonderError, StageError
from ponder.lineage import stages_reached
from ponder.plugins import error_line
from ponder.storage import storage_errors
from ponder.store import StageRecord, Store, Workspace, located_options

if TYPE_CHECKING:
    from ponder.interfaces import Stage
    from ponder.planning import PlannedStage
    from ponder.recipe import Recipe

Finished = Mapping[str, FinishedStage]


def parents_of(recipe: Recipe, stage: PlannedStage) -> tuple[str, ...]:
    """The stages that a stage is made from, itself or through its tasks and rewards."""
    return tuple(stages_reached({kind: getattr(recipe, section) for kind, section in SECTIONS.items()}, stage.entry))


def tracked_params(stage: PlannedStage) -> dict[str, object]:
    """What a tracker is told of a stage at its start."""
    return {"type": stage.entry.type, **stage.entry.options, "fingerprint": stage.identity.fingerprint}


def make_stage(stage: PlannedStage, run: Surroundings, store: Store, finished: Finished) -> FinishedStage:
    """Make a stage from those that are finished, and publish it.

    Raises PonderError: StageError when the stage fails, StorageError for no space or no access, BusyError when another
    process makes the same stage, Interrupted after SIGINT or SIGTERM.
    """
    with _boundary(stage, run, store, finished), store.open_workspace(stage.identity.fingerprint) as workspace:
        made = _run_stage(stage, run, workspace, finished)
    _traceback_file(stage, run, store).unlink(missing_ok=True)
    return made


def _run_stage(stage: PlannedStage, run: Surroundings, workspace: Workspace, finished: Finished) -> FinishedStage:
    hook = run.registry.hook
    with StageContext(stage.entry, run, workspace, dict(finished)) as context:
        _observe(run, hook.ponder_stage_started, context=context)
        component: Stage = stage.entry.component.make(stage.entry.config)
        result = component.run(context)
        context.finish()
    made = workspace.publish(_record(stage, run.recipe, finished), result)
    _observe(run, hook.ponder_stage_finished, context=context, result=made.result)
    return made


def _observe(run: Surroundings, hook: Callable[..., object], **arguments: object) -> None:
    """Tell the plugins that watch; a run does not depend on who watches it."""
    try:
        hook(**arguments)
    except Exception as error:
        run.display.say(f"a plugin that watches the run failed: {error_line(error)}; the run goes on")


def _record(stage: PlannedStage, recipe: Recipe, finished: Finished) -> StageRecord:
    entry, identity = stage.entry, stage.identity
    root = None if stage.policy is None else recipe.policies[stage.policy]
    parents = {name: finished[name].fingerprint for name in parents_of(recipe, stage)}
    options = {
        "options": entry.options,
        "seed": recipe.seed,
        "policy": root and {"name": root.name, "type": root.type, "options": located_options(root)},
        "made_from": identity.ingredients,
    }
    return StageRecord(entry.name, entry.type, identity.fingerprint, parents, options)


@contextmanager
def _boundary(stage: PlannedStage, run: Surroundings, store: Store, finished: Finished) -> Iterator[None]:
    """Whatever goes wrong in a stage becomes one paragraph for the user."""
    name = stage.entry.name
    kept = ", ".join(finished) or "nothing yet"
    try:
        with storage_errors(
            store.runs,
            f"stage {name} was running",
            f"Kept are the finished stages ({kept}) and the last checkpoint of {name}, if it has one.",
        ):
            yield
    except PonderError:
        raise
    except KeyboardInterrupt:
        raise run.signals.interruption(f"stage {name}; the same command continues from its last checkpoint") from None
    except (Exception, SystemExit) as error:
        raise StageError(_explain(stage, run, store, error)) from error


def _explain(stage: PlannedStage, run: Surroundings, store: Store, error: BaseException) -> str:
    path = _traceback_file(stage, run, store)
    with suppress(OSError):
        path.write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="replace")
    plugin = run.registry.distribution_of("stage", stage.entry.type)
    return (
        f"stage {stage.entry.name!r} ({stage.entry.type} of {plugin}) failed: {error_line(error)}. "
        f"The whole traceback is in {path}. What earlier stages made is kept, and so is this stage's last checkpoint."
    )


def _traceback_file(stage: PlannedStage, run: Surroundings, store: Store) -> Path:
    return store.run_directory(run.recipe.name) / f"{stage.entry.name}.traceback.txt"
