"""Tests of generated programs: read from an example, run in a jail, and judged outside it, where the expected values stay."""

from __future__ import annotations

import ast
import json
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ponder.errors import InputError
from ponder_rewards.jail import Ended, Jail

_HELD_BACK = "None"
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: lambda one, other: type(one) is type(other) and one == other,
    ast.IsNot: lambda one, other: not (type(one) is type(other) and one == other),
    ast.In: lambda one, other: one in other,
    ast.NotIn: lambda one, other: one not in other,
}
_PLAIN: dict[str, Callable[[Any], Any]] = {
    "list": lambda items: [_decoded(item) for item in items],
    "tuple": lambda items: tuple(_decoded(item) for item in items),
    "set": lambda items: {_decoded(item) for item in items},
    "frozenset": lambda items: frozenset(_decoded(item) for item in items),
    "dict": lambda items: {_decoded(key): _decoded(value) for key, value in items},
    "int": lambda text: int(text, 16),
    "float": float.fromhex,
    "bytes": bytes.fromhex,
    "str": str,
    "bool": bool,
    "None": lambda _: None,
}


class ProgramTest(Protocol):
    """One test of the program in a directory."""

    def run(self, jail: Jail, directory: Path) -> tuple[bool, bool]:
        """Whether the program passes, and whether it took too long."""
        ...


@dataclass(frozen=True, slots=True)
class OutputTest:
    """A program gets a standard input and is to print this; space at the ends of lines and of the text does not count."""

    given: str
    expected: str

    def run(self, jail: Jail, directory: Path) -> tuple[bool, bool]:
        """See `ProgramTest`."""
        ended = jail.script(directory, self.given)
        printed = ended.output.decode(errors="replace")
        return ended.is_success and _lines(printed) == _lines(self.expected), ended.is_timeout


@dataclass(frozen=True, slots=True)
class AssertTest:
    """An assertion whose operands are computed in the jail, save those that are literals, and compared here as plain data."""

    source: str
    """Of the module that computes the operands; literals are held back."""
    operands: int
    holds: Callable[[Sequence[Any]], bool]

    def run(self, jail: Jail, directory: Path) -> tuple[bool, bool]:
        """See `ProgramTest`."""
        (directory / "check.py").write_text(self.source, encoding="utf-8")
        ended = jail.check(directory)
        return self._passes(ended), ended.is_timeout

    def _passes(self, ended: Ended) -> bool:
        if not ended.is_success:
            return False
        try:
            values = [_decoded(value) for value in json.loads(ended.output)]
            return len(values) == self.operands and self.holds(values)
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
            return False


def read_tests(given: object, entry_point: str | None, where: str) -> list[ProgramTest]:
    """The tests that an example's metadata holds: mappings with `input` and `output`, and texts with assertions.

    Raises InputError for what is neither; `where` says whose it is.
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
    body = [statement for part in body for statement in _unfolded(part, entry_point, where)]
    before: list[str] = []
    for statement in body:
        if isinstance(statement, ast.Assert):
            yield _assertion(statement.test, before)
        else:
            before.append(ast.unparse(statement))


def _unfolded(statement: ast.stmt, entry_point: str | None, where: str) -> list[ast.stmt]:
    """The statements of a function `check(candidate)` that tests whatever it is given, as HumanEval has it; others as they are."""
    if not (isinstance(statement, ast.FunctionDef) and statement.name == "check" and statement.args.args):
        return [] if _calls_check(statement) else [statement]
    if not entry_point:
        raise InputError(
            f"{where}: tests with `def check(candidate)` need the function's name in the metadata's `entry_point`"
        )
    candidate = ast.parse(f"{statement.args.args[0].arg} = {entry_point}").body
    return [*candidate, *statement.body]


def _calls_check(statement: ast.stmt) -> bool:
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "check"


def _assertion(test: ast.expr, before: Sequence[str]) -> AssertTest:
    parts = [_condition(part) for part in _conjuncts(test)]
    operands = [operand for found, _ in parts for operand in found]
    held_back = [_literal(operand) for operand in operands]
    computed = [_HELD_BACK if kept else ast.unparse(operand) for operand, kept in zip(operands, held_back, strict=True)]

    def holds(values: Sequence[Any]) -> bool:
        known = [kept[0] if kept else value for kept, value in zip(held_back, values, strict=True)]
        start = 0
        for found, decide in parts:
            if not decide(known[start : start + len(found)]):
                return False
            start += len(found)
        return True

    return AssertTest("\n".join([*before, f"VALUES = [{', '.join(computed)}]"]), len(operands), holds)


def _conjuncts(test: ast.expr) -> list[ast.expr]:
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return [part for value in test.values for part in _conjuncts(value)]
    return [test]


def _condition(test: ast.expr) -> tuple[list[ast.expr], Callable[[Sequence[Any]], bool]]:
    """What of a condition is computed by the program, and how the values decide."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        operands, decide = _condition(test.operand)
        return operands, lambda values: not decide(values)
    if isinstance(test, ast.Compare):
        return _comparison(test)
    if isinstance(test, ast.Call) and ast.unparse(test.func) in ("isclose", "math.isclose") and len(test.args) == 2:
        options = {keyword.arg: _literal(keyword.value) for keyword in test.keywords}
        if all(name and kept for name, kept in options.items()):
            known = {str(name): kept[0] for name, kept in options.items() if kept}
            return list(test.args), lambda values: math.isclose(values[0], values[1], **known)
    return [test], lambda values: bool(values[0])


def _comparison(test: ast.Compare) -> tuple[list[ast.expr], Callable[[Sequence[Any]], bool]]:
    compare = [_COMPARISONS[type(found)] for found in test.ops]
    sides = [test.left, *test.comparators]
    close = _difference(test.left) if len(compare) == 1 else None
    if close:
        return [*close, sides[1]], lambda values: bool(compare[0](abs(values[0] - values[1]), values[2]))
    return sides, lambda values: all(map(lambda how, one, other: how(one, other), compare, values, values[1:]))


def _difference(side: ast.expr) -> list[ast.expr] | None:
    """The two values of `abs(a - b)`."""
    if isinstance(side, ast.Call) and ast.unparse(side.func) == "abs" and len(side.args) == 1:
        inside = side.args[0]
        if isinstance(inside, ast.BinOp) and isinstance(inside.op, ast.Sub):
            return [inside.left, inside.right]
    return None


def _literal(expression: ast.expr) -> tuple[Any] | None:
    try:
        return (ast.literal_eval(expression),)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _decoded(value: Any) -> Any:
    kind, content = value
    return _PLAIN[kind](content)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]
