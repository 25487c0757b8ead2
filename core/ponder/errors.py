"""The errors a user may see: each is one paragraph that says what is wrong, where, and what to do."""

from __future__ import annotations


class PonderError(Exception):
    """Ends a command with its message and `exit_code`, without a traceback."""

    exit_code = 1


class InputError(PonderError):
    """What the user wrote (recipe, option, data file, plugin) is wrong."""

    exit_code = 2


class StageError(PonderError):
    """A stage could not do its work; what earlier stages made is kept."""

    exit_code = 1


class StorageError(PonderError):
    """No space, or no access, where the run is to be written."""

    exit_code = 74


class BusyError(PonderError):
    """Another process is writing to the same run directory."""

    exit_code = 75


class Interrupted(PonderError):  # noqa: N818 - an interruption is not an error
    """A signal asked the run to stop; the same command continues it."""

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
