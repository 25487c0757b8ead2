"""What `ponder doctor` looks for before anything is trained; plugins add checks through the hook `ponder_checks`."""

from typing import TYPE_CHECKING, Any

from ponder.doctor.findings import Check, Finding, NotYetError, Severity

if TYPE_CHECKING:
    from ponder.doctor.patient import Patient

__all__ = ["Check", "Finding", "NotYetError", "Patient", "Severity"]


def __getattr__(name: str) -> Any:
    # Plugins name their checks when they are loaded; what builds policies is needed only when a check runs.
    if name != "Patient":
        raise AttributeError(f"module 'ponder.doctor' has no attribute {name!r}")
    from ponder.doctor.patient import Patient

    return Patient
