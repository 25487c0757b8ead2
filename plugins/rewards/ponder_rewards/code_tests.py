"""The tests of generated programs that examples bring."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from ponder.errors import InputError
from ponder_rewards.assertions import AssertionReader
from ponder_rewards.program_tests import OutputTest, ProgramTest


def read_tests(given: object, entry_point: str | None, where: str) -> list[ProgramTest]:
    """The tests that an example's metadata holds: mappings with `input` and `output`, and texts with assertions.

    Raises InputError for what is neither, and for assertions that cannot be judged soundly; `where` says whose they are.
    """
    entries = given if isinstance(given, list | tuple) else [given]
    return [test for entry in entries for test in _read(entry, entry_point, where)]


def _read(entry: object, entry_point: str | None, where: str) -> Iterator[ProgramTest]:
    if isinstance(entry, Mapping) and isinstance(entry.get("output"), str):
        yield OutputTest(str(entry.get("input", "")), entry["output"])
        return
    if not isinstance(entry, str):
        raise InputError(
            f"{where}: a test is a mapping with `input` and `output`, or a text with assertions, not {entry!r:.80}"
        )
    try:
        body = ast.parse(entry).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{where}: the test {entry[:80]!r} is not Python: {error}") from error
    try:
        tests = list(AssertionReader(entry_point, where).tests(body))
    except RecursionError as error:
        raise InputError(f"{where}: the test {entry[:80]!r} is nested too deeply to be read") from error
    if body and not tests:
        raise InputError(
            f"{where}: the test {entry[:80]!r} asserts nothing; write `assert`s, in the text, in functions `test_...()` "
            f"or in `check(candidate)`"
        )
    yield from tests
