"""An examination: every check on every stage that it concerns, each distinct question once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ponder.doctor.findings import Check, Finding, NotYetError
from ponder.doctor.lengths import LENGTH_CHECKS
from ponder.doctor.patient import Clinic, Patient
from ponder.doctor.rewards import REWARD_CHECKS
from ponder.doctor.tokenizers import TOKENIZER_CHECKS
from ponder.errors import PonderError
from ponder.plugins import error_line

if TYPE_CHECKING:
    from ponder.context import FinishedStage
    from ponder.plugins import Registry
    from ponder.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A finding, of which check, about which stages."""

    check: str
    question: str
    stages: tuple[str, ...]
    finding: Finding


def all_checks(registry: Registry) -> tuple[Check, ...]:
    """The core's checks and those of the plugins."""
    offered = [check for checks in registry.hook.ponder_checks() for check in checks or ()]
    return (*TOKENIZER_CHECKS, *REWARD_CHECKS, *LENGTH_CHECKS, *offered)


def examine(
    recipe: Recipe,
    registry: Registry,
    finished: Mapping[str, FinishedStage],
    say: Callable[[str], None],
    stages: Sequence[str] = (),
) -> Iterator[Diagnosis]:
    """What is found, check by check; `stages` names those to look at, or none for all.

    Where a check finds nothing amiss it is told so once, with the stages it looked at.
    """
    with ExitStack() as resources:
        clinic = Clinic(recipe, registry, finished, say, resources)
        patients = [Patient(entry, clinic) for name, entry in recipe.stages.items() if not stages or name in stages]
        told: set[str] = set()
        for check in all_checks(registry):
            yield from _examined(check, patients, told)


def _examined(check: Check, patients: Iterable[Patient], told: set[str]) -> Iterator[Diagnosis]:
    well: list[str] = []
    for group in _grouped(check, patients):
        names = tuple(patient.entry.name for patient in group)
        found = list(_findings(check, group[0], told))
        well += () if found else names
        for finding in found:
            if finding is not None:
                yield Diagnosis(check.name, check.question, names, finding)
    if well:
        yield Diagnosis(check.name, check.question, tuple(well), Finding("fine", ""))


def _grouped(check: Check, patients: Iterable[Patient]) -> list[list[Patient]]:
    groups: dict[Hashable, list[Patient]] = {}
    for patient in patients:
        key = check.concerns(patient)
        if key is not None:
            groups.setdefault(key, []).append(patient)
    return list(groups.values())


def _findings(check: Check, patient: Patient, told: set[str]) -> Iterator[Finding | None]:
    """What a check finds; its own failure is a finding too, or None where another check has `told` of the same.

    A policy that cannot be built fails every check that asks for it.
    """
    try:
        yield from check.examine(patient)
    except NotYetError as error:
        yield Finding("not yet", str(error))
    except Exception as error:
        failure = _failure(error)
        yield None if failure.text in told else failure
        told.add(failure.text)


def _failure(error: Exception) -> Finding:
    if isinstance(error, PonderError):
        return Finding("problem", str(error))
    return Finding("problem", f"the check itself failed: {error_line(error)}", "this stage would probably fail too")
