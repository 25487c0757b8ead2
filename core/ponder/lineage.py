"""What a recipe's stages reach through tasks and rewards: which earlier stages, and which tasks that only measure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ponder.components import Kind
from ponder.entries import Entry, Reference

Entries = Mapping[Kind, Mapping[str, Entry]]


def stages_reached(entries: Entries, entry: Entry) -> dict[str, str]:
    """The stages that an entry names, itself or through other entries, each with what names it ("" for itself)."""
    found: dict[str, str] = {}
    for reference, through in _reached(entries, entry):
        if reference.kind == "stage":
            found.setdefault(reference.name, through)
    return found


def late_stages(entries: Entries) -> Iterator[tuple[str, str]]:
    """For each stage that uses an entry which needs a later stage, the stage and what is wrong."""
    earlier: set[str] = set()
    for stage in entries["stage"].values():
        for name, through in stages_reached(entries, stage).items():
            if name not in earlier and through:
                yield (
                    stage.name,
                    f"uses {through}, which needs stage '{name}', and that does not stand before it; move it up",
                )
        earlier.add(stage.name)


def learnt_measures(entries: Entries) -> Iterator[tuple[str, str]]:
    """For each stage that learns from a task which another measures with, the stage and what is wrong.

    A config says in a class variable `measures` which of its options name tasks that are looked at and not learnt from.
    """
    measuring: dict[str, str] = {}
    for stage in entries["stage"].values():
        for reference, _ in _reached(entries, stage, only_measures=True):
            if reference.kind == "task":
                measuring.setdefault(reference.name, stage.name)
    for stage in entries["stage"].values():
        for reference, _ in _reached(entries, stage, only_measures=False):
            if reference.kind == "task" and reference.name in measuring:
                yield (
                    stage.name,
                    f"learns from task '{reference.name}', with which stage '{measuring[reference.name]}' measures; "
                    "give it other problems, such as another split",
                )


def _reached(entries: Entries, entry: Entry, *, only_measures: bool | None = None) -> Iterator[tuple[Reference, str]]:
    """References of an entry and of the tasks, rewards and so on behind it, but not of other stages.

    With `only_measures` true, those that begin with an option that measures; with false, those with no such option on the way.
    """
    for reference in entry.references:
        measures = reference.option in getattr(entry.config, "measures", ())
        if only_measures is not None and measures != only_measures:
            continue
        yield reference, ""
        if reference.kind != "stage":
            onward = None if measures else only_measures
            via = f"{reference.kind} '{reference.name}'"
            behind = entries[reference.kind].get(reference.name)
            for further, through in _reached(entries, behind, only_measures=onward) if behind else ():
                yield further, through or via
