"""Assertions in texts of tests, read so that expected values need not enter the jail."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn

from ponder.errors import InputError
from ponder_rewards.constants import COMPARISONS, Constants, UnknownError, bound_names, is_mutable, source_of
from ponder_rewards.program_tests import AssertTest, Decision, decoded

_MOST_STEPS = 1 << 12


class AssertionReader:
    """Runs the control flow of a text of tests here, on constants; what the program has a part in becomes code for the jail.

    So loops are unrolled, branches chosen and functions with assertions inlined; each statement at the top that asserts is a test.
    A constant enters the jail when code that runs there names it.
    """

    def __init__(self, entry_point: str | None, where: str) -> None:
        self._entry_point = entry_point
        self._where = where
        self._known: dict[str, Any] = {"__name__": "__main__"}
        self._taken = {entry_point} if entry_point else set[str]()
        """Names bound by code in the jail, which stand for nothing that is known here."""
        self._shared = set[str]()
        """Names that code in the jail mentions, which is to see what they are bound to."""
        self._functions: dict[str, ast.FunctionDef] = {}
        """Those with assertions that have been defined so far."""
        self._asserting = set[str]()
        """Names of all of them."""
        self._called = set[str]()
        self._steps = 0
        self._lines: list[str] = []
        self._operands: list[int] = []
        """Which of the lines compute operands of the test at hand."""
        self._decisions: list[Decision] = []

    def tests(self, body: Sequence[ast.stmt]) -> Iterator[AssertTest]:
        """Tests in the order of the text, then those of functions that are tests by their name and were not called."""
        found = [node for part in body for node in ast.walk(part) if isinstance(node, ast.FunctionDef)]
        self._asserting = {function.name for function in found if self._asserts(function)}
        self._refuse_shadows(body)
        yield from self._units(body)
        for name, function in list(self._functions.items()):
            if name not in self._called and (name == "check" or name.startswith("test")):
                yield from self._units(self._inlined(function, ast.Call(ast.Name(name, ast.Load()), [], [])))

    def _units(self, body: Iterable[ast.stmt]) -> Iterator[AssertTest]:
        for statement in body:
            function = self._function_called(statement)
            if function:
                yield from self._units(self._inlined(*function))
            elif isinstance(statement, ast.If) and self._asserts(statement):
                yield from self._units(self._branch(statement))
            else:
                self._run(statement)
                if self._decisions:
                    yield self._finished()

    def _finished(self) -> AssertTest:
        decisions = tuple(self._decisions)
        test = AssertTest(
            "\n".join(self._lines), len(self._operands), lambda values: all(decide(values) for decide in decisions)
        )
        for line in reversed(self._operands):
            del self._lines[line]
        self._operands, self._decisions = [], []
        return test

    def _run(self, statement: ast.stmt) -> None:
        self._step(statement)
        if isinstance(statement, ast.Assert):
            self._decisions.append(self._condition(statement.test))
        elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
            self._assign(statement)
        elif function := self._function_called(statement):
            self._run_all(self._inlined(*function))
        elif not self._asserts(statement):
            self._emit(statement)
        elif isinstance(statement, ast.FunctionDef) and not statement.decorator_list:
            self._functions[statement.name] = statement
            self._asserting.add(statement.name)
        elif isinstance(statement, ast.If):
            self._run_all(self._branch(statement))
        elif isinstance(statement, ast.For | ast.While):
            self._loop(statement)
        else:
            self._refuse(statement, "asserts in a statement other than a loop, an `if` or a function")

    def _step(self, node: ast.stmt | ast.expr) -> None:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            self._refuse(node, f"takes more than {_MOST_STEPS} steps")

    def _run_all(self, body: Iterable[ast.stmt]) -> None:
        for statement in body:
            self._run(statement)

    def _branch(self, statement: ast.If) -> list[ast.stmt]:
        return statement.body if self._decided(statement, statement.test) else statement.orelse

    def _loop(self, statement: ast.For | ast.While) -> None:
        if isinstance(statement, ast.While):
            while self._decided(statement, statement.test):
                self._run_all(statement.body)
        else:
            for item in list(self._decided(statement, statement.iter)):
                try:
                    self._bind(statement.target, item)
                except UnknownError:
                    self._refuse(statement, "has a loop variable that is not a name or a tuple of names")
                self._run_all(statement.body)
        self._run_all(statement.orelse)

    def _decided(self, statement: ast.stmt, expression: ast.expr) -> Any:
        try:
            return self._constant(expression)
        except UnknownError:
            self._refuse(statement, f"asserts depending on `{ast.unparse(expression)[:80]}`, which is not constant")

    def _assign(self, statement: ast.Assign | ast.AnnAssign | ast.AugAssign) -> None:
        target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
        try:
            if statement.value is None or (isinstance(statement, ast.Assign) and len(statement.targets) > 1):
                raise UnknownError
            if isinstance(statement, ast.AugAssign):
                if not isinstance(target, ast.Name):
                    raise UnknownError
                value = self._constant(ast.BinOp(ast.Name(target.id, ast.Load()), statement.op, statement.value))
            else:
                value = self._constant(statement.value)
            # A second name for what the program may change, or a change in place: the jail has to see that it is one object.
            if is_mutable(value) and (
                isinstance(statement, ast.AugAssign) or any(value is other for other in self._known.values())
            ):
                raise UnknownError
            self._bind(target, value)
        except UnknownError:
            self._emit(statement)

    def _bind(self, target: ast.expr, value: Any) -> None:
        bound = bound_names(target, value)
        self._known.update(bound)
        for name in bound.keys() & self._shared:
            self._share(name)

    def _share(self, name: str) -> None:
        """Let the jail see a constant; one that the program can change is not known here any more."""
        self._lines.append(f"{name} = {source_of(self._known[name])}")
        self._shared.add(name)
        if is_mutable(self._known[name]):
            del self._known[name]
            self._taken.add(name)

    def _emit(self, statement: ast.stmt) -> None:
        if self._asserts(statement):
            self._refuse(statement, "uses the value of a function that asserts")
        text = ast.unparse(statement)
        try:
            compile(text, "check.py", "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            self._refuse(statement, f"cannot stand outside its loop or function ({error})")
        self._mention(statement)
        self._lines.append(text)
        for name in _stored(statement):
            self._known.pop(name, None)
            self._taken.add(name)

    def _mention(self, node: ast.AST) -> None:
        names = {found.id for found in ast.walk(node) if isinstance(found, ast.Name)}
        for name in sorted(names & self._known.keys() - self._shared):
            self._share(name)
        self._shared |= names

    def _condition(self, test: ast.expr) -> Decision:
        if isinstance(test, ast.BoolOp):
            parts = [self._condition(value) for value in test.values]
            how = all if isinstance(test.op, ast.And) else any
            return lambda values: how(part(values) for part in parts)
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            decide = self._condition(test.operand)
            return lambda values: not decide(values)
        if isinstance(test, ast.Compare):
            return self._comparison(test)
        special = self._closeness(test) or self._quantified(test) if isinstance(test, ast.Call) else None
        if special:
            return special
        # What is true need not be plain data.
        truth = ast.UnaryOp(ast.Not(), ast.UnaryOp(ast.Not(), test))
        return self._operand(truth, is_computed=_has_call(test))

    def _comparison(self, test: ast.Compare) -> Decision:
        compare = [COMPARISONS[type(found)] for found in test.ops]
        close = _difference(test.left) if len(compare) == 1 else None
        if close:
            one, other, most = (self._operand(side) for side in (*close, test.comparators[0]))
            return lambda values: compare[0](abs(one(values) - other(values)), most(values))
        # Where all sides are constant, the first may call a function of the program that has the name of a built-in one.
        sides = [test.left, *test.comparators]
        is_computed = _has_call(test.left) and all(map(self._is_constant, sides))
        found = [self._side(test.left, is_computed), *(self._side(side) for side in sides[1:])]

        def holds(values: Sequence[Any]) -> bool:
            known = [side(values) for side in found]
            return all(how(one, other) for how, one, other in zip(compare, known, known[1:], strict=False))

        return holds

    def _side(self, side: ast.expr, is_computed: bool = False) -> Decision:
        return self._condition(side) if isinstance(side, ast.Compare) else self._operand(side, is_computed)

    def _closeness(self, test: ast.Call) -> Decision | None:
        if ast.unparse(test.func) not in ("isclose", "math.isclose") or len(test.args) != 2:
            return None
        try:
            options = {str(keyword.arg): self._constant(keyword.value) for keyword in test.keywords}
        except UnknownError:
            return None
        one, other = (self._operand(side) for side in test.args)
        return lambda values: math.isclose(one(values), other(values), **options)

    def _quantified(self, test: ast.Call) -> Decision | None:
        """`all` or `any` of conditions for each of some constants."""
        how = {"all": all, "any": any}.get(ast.unparse(test.func))
        every = test.args[0] if len(test.args) == 1 else None
        if not (how and isinstance(every, ast.GeneratorExp | ast.ListComp) and len(every.generators) == 1):
            return None
        loop = every.generators[0]
        names = _stored(loop.target)
        if names & (self._known.keys() | self._taken):
            return None
        parts = []
        try:
            for item in list(self._constant(loop.iter)):
                self._step(test)
                self._bind(loop.target, item)
                if all(self._constant(condition) for condition in loop.ifs):
                    parts.append(self._condition(every.elt))
        except UnknownError:
            return None
        finally:
            self._taken -= names
            for name in names:
                self._known.pop(name, None)
        return lambda values: how(part(values) for part in parts)

    def _operand(self, expression: ast.expr, is_computed: bool = False) -> Decision:
        """A constant, or what the jail computes: then it is the next of the values, and one that raises is no value."""
        if not is_computed and self._is_constant(expression):
            value = self._constant(expression)
            return lambda values: value
        if self._asserts(expression):
            self._refuse(expression, "uses the value of a function that asserts")
        self._mention(expression)
        index = len(self._operands)
        self._operands.append(len(self._lines))
        computed = f"VALUES.append(ENCODED({ast.unparse(expression)}))"
        self._lines.append(f"try:\n    {computed}\nexcept Exception:\n    VALUES.append(None)")
        return lambda values: decoded(values[index])

    def _constant(self, expression: ast.expr) -> Any:
        return Constants(self._known, self._taken).value(expression)

    def _is_constant(self, expression: ast.expr) -> bool:
        try:
            self._constant(expression)
        except UnknownError:
            return False
        return True

    def _asserts(self, node: ast.AST) -> bool:
        return any(
            isinstance(found, ast.Assert) or (isinstance(found, ast.Name) and found.id in self._asserting)
            for found in ast.walk(node)
        )

    def _function_called(self, statement: ast.stmt) -> tuple[ast.FunctionDef, ast.Call] | None:
        """The function with assertions that the statement calls."""
        call = statement.value if isinstance(statement, ast.Expr) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in self._functions:
            return self._functions[call.func.id], call
        return None

    def _inlined(self, function: ast.FunctionDef, call: ast.Call) -> list[ast.stmt]:
        """The body behind assignments to the parameters; `check(candidate)` gets the entry point, as HumanEval has it."""
        names = [parameter.arg for parameter in function.args.args]
        given = list(call.args)
        if function.name == "check" and names and self._entry_point:
            given = [ast.Name(self._entry_point, ast.Load()), *given[1:]]
        if function.name == "check" and names and not given:
            raise InputError(
                f"{self._where}: tests with `def check(candidate)` need the function's name in the metadata's `entry_point`"
            )
        defaults = function.args.defaults
        values = dict(zip(names[len(names) - len(defaults) :], defaults, strict=True))
        values |= dict(zip(names, given, strict=False))
        values |= {str(keyword.arg): keyword.value for keyword in call.keywords}
        extra = function.args.vararg or function.args.kwarg or function.args.kwonlyargs or function.args.posonlyargs
        if extra or len(given) > len(names) or values.keys() != set(names):
            self._refuse(function, "asserts with parameters that are not given by position or name")
        self._called.add(function.name)
        body = function.body[:-1] if isinstance(function.body[-1], ast.Return) else function.body
        start = [ast.Assign([ast.Name(name, ast.Store())], value, lineno=0) for name, value in values.items()]
        return [*start, *body]

    def _refuse_shadows(self, body: Sequence[ast.stmt]) -> None:
        """Refuse functions that assert and have variables with the names of others where they are called: inlined, they are one."""
        functions = [found for found in body if isinstance(found, ast.FunctionDef) and self._asserts(found)]
        outside = {name for statement in body if statement not in functions for name in _stored(statement)}
        for function in functions:
            callers = [other for other in functions if other is not function and _mentions(other, function.name)]
            taken = outside.union(*(_stored(caller) for caller in callers))
            shadows = taken & (_stored(function) - {function.name})
            if shadows:
                self._refuse(function, f"has variables that its callers have, too ({', '.join(sorted(shadows))})")
            if _mentions(function, function.name):
                self._refuse(function, "asserts and calls itself")
            self._refuse_shadows(function.body)

    def _refuse(self, node: ast.stmt | ast.expr, why: str) -> NoReturn:
        raise InputError(
            f"{self._where}: the test {ast.unparse(node)[:80]!r} cannot be judged: it {why}. Assert at the top, in loops over "
            f"constants, or on the value of a helper that returns what is to be compared"
        )


def _stored(node: ast.AST) -> set[str]:
    """Names that code binds."""
    names = set[str]()
    for found in ast.walk(node):
        if isinstance(found, ast.Name) and not isinstance(found.ctx, ast.Load):
            names.add(found.id)
        elif isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(found.name)
        elif isinstance(found, ast.arg):
            names.add(found.arg)
        elif isinstance(found, ast.alias):
            names.add((found.asname or found.name).partition(".")[0])
        elif isinstance(found, ast.ExceptHandler) and found.name:
            names.add(found.name)
    return names


def _mentions(node: ast.AST, name: str) -> bool:
    return any(isinstance(found, ast.Name) and found.id == name for found in ast.walk(node))


def _has_call(expression: ast.expr) -> bool:
    return any(isinstance(found, ast.Call) for found in ast.walk(expression))


def _difference(side: ast.expr) -> list[ast.expr] | None:
    """The two values of `abs(a - b)`."""
    if isinstance(side, ast.Call) and ast.unparse(side.func) == "abs" and len(side.args) == 1:
        inside = side.args[0]
        if isinstance(inside, ast.BinOp) and isinstance(inside.op, ast.Sub):
            return [inside.left, inside.right]
    return None
