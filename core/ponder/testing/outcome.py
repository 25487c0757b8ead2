"""How a check ends: it passes, it fails with a text that tells the author what to do, or it could not be made."""

from __future__ import annotations

import unittest
from typing import NoReturn


def require(condition: object, text: str) -> None:
    """Fail the check with this text unless the condition holds."""
    __tracebackhide__ = True
    if not condition:
        raise AssertionError(text)


def unchecked(reason: str) -> NoReturn:
    """End a check that cannot be made; pytest shows it as skipped, with the reason."""
    __tracebackhide__ = True
    raise unittest.SkipTest(reason)


def brief(value: object, longest: int = 100) -> str:
    """A value as a text of a check shows it."""
    text = ascii(value)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def described(error: BaseException) -> str:
    """An exception with the place it came from: `ValueError: no such shape (shapes.py:12)`."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" ({trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno})"
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}{f': {lines[0]}' if lines else ''}{place}"
