"""Values of constant expressions in tests of programs, without running any: literals, arithmetic, common built-in functions."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

_MOST_WORK = 1 << 22
_MOST_BITS = 1 << 16
COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
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
_OPERATIONS: dict[type[ast.operator | ast.unaryop], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
    ast.Not: operator.not_,
}
_OF_ANY_ORDER: dict[str, Callable[..., Any]] = {
    found.__name__: found for found in (set, frozenset, sorted, len, min, max, sum, all, any, bool)
}
_OF_AN_ORDER: dict[str, Callable[..., Any]] = {
    **{found.__name__: found for found in (list, tuple, dict, int, float, range, abs, divmod, ord, chr, bin, hex)},
    "str": lambda value: _shown(value),
    "enumerate": lambda *given: list(enumerate(*given)),
    "zip": lambda *given: list(zip(*given, strict=False)),
    "reversed": lambda items: list(reversed(items)),
    "round": lambda number, digits=None: round(number, None if digits is None else max(-400, min(400, digits))),
    **{
        f"math.{name}": getattr(math, name)
        for name in ("sqrt", "floor", "ceil", "fabs", "log", "exp", "sin", "cos", "gcd")
    },
}
_FUNCTIONS = {**_OF_ANY_ORDER, **_OF_AN_ORDER}
_NUMBERS = {f"math.{name}": getattr(math, name) for name in ("pi", "e", "tau", "inf", "nan")}
_DICT_VIEWS = ("items", "keys", "values")


class UnknownError(Exception):
    """The value of an expression is not known here: the program has a part in it, or it would be too much work."""


class Constants(ast.NodeVisitor):
    """Evaluates expressions over literals, known names and a few functions; all that it makes is counted, and bounded."""

    def __init__(self, known: Mapping[str, Any], taken: set[str]) -> None:
        self._known = dict(known)
        self._taken = taken
        self._work = _MOST_WORK

    def value(self, node: ast.expr) -> Any:
        """Raises UnknownError."""
        try:
            return self.visit(node)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise UnknownError from error

    def visit(self, node: ast.AST) -> Any:
        """Dispatch on the kind of node."""
        value = super().visit(node)
        self._work = _rest_of_work(self._work, value)
        return value

    def generic_visit(self, node: ast.AST) -> Any:
        """Nothing else is evaluated."""
        raise UnknownError

    def visit_Constant(self, node: ast.Constant) -> Any:
        return node.value

    def visit_Name(self, node: ast.Name) -> Any:
        return self._known[node.id]

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        return _NUMBERS[ast.unparse(node)]

    def visit_List(self, node: ast.List) -> Any:
        return [self.visit(item) for item in node.elts]

    def visit_Tuple(self, node: ast.Tuple) -> Any:
        return tuple(self.visit(item) for item in node.elts)

    def visit_Set(self, node: ast.Set) -> Any:
        return {self.visit(item) for item in node.elts}

    def visit_Dict(self, node: ast.Dict) -> Any:
        if None in node.keys:
            raise UnknownError
        return {self.visit(key): self.visit(item) for key, item in zip(node.keys, node.values, strict=True) if key}

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        return _OPERATIONS[type(node.op)](self.visit(node.operand))

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        one, other = self.visit(node.left), self.visit(node.right)
        _refuse_much(node.op, one, other)
        return _OPERATIONS[type(node.op)](one, other)

    def visit_Compare(self, node: ast.Compare) -> Any:
        sides = [self.visit(side) for side in (node.left, *node.comparators)]
        pairs = zip(node.ops, sides, sides[1:], strict=False)
        return all(COMPARISONS[type(how)](one, other) for how, one, other in pairs)

    def visit_BoolOp(self, node: ast.BoolOp) -> Any:
        for part in node.values:
            value = self.visit(part)
            if bool(value) is isinstance(node.op, ast.Or):
                break
        return value

    def visit_IfExp(self, node: ast.IfExp) -> Any:
        return self.visit(node.body if self.visit(node.test) else node.orelse)

    def visit_Subscript(self, node: ast.Subscript) -> Any:
        return self.visit(node.value)[self.visit(node.slice)]

    def visit_Slice(self, node: ast.Slice) -> Any:
        return slice(*(part and self.visit(part) for part in (node.lower, node.upper, node.step)))

    def visit_Call(self, node: ast.Call) -> Any:
        given = [self.visit(item) for item in node.args]
        if isinstance(node.func, ast.Attribute) and node.func.attr in _DICT_VIEWS and not given:
            items = self.visit(node.func.value)
            if type(items) is not dict:
                raise UnknownError
            return list(getattr(items, node.func.attr)())
        name = ast.unparse(node.func)
        if name.partition(".")[0] in self._known.keys() | (self._taken - {"math"}):
            raise UnknownError
        # The order of a set of strings is not the same in every process.
        named = _OF_ANY_ORDER if any(isinstance(item, set | frozenset) for item in given) else _FUNCTIONS
        return named[name](*given, **{str(keyword.arg): self.visit(keyword.value) for keyword in node.keywords})

    def visit_ListComp(self, node: ast.ListComp | ast.GeneratorExp | ast.SetComp) -> Any:
        outer, self._known = self._known, dict(self._known)
        try:
            return [self.visit(node.elt) for _ in self._bindings(node.generators)]
        finally:
            self._known = outer

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> Any:
        return self.visit_ListComp(node)

    def visit_SetComp(self, node: ast.SetComp) -> Any:
        return set(self.visit_ListComp(node))

    def visit_DictComp(self, node: ast.DictComp) -> Any:
        pairs = ast.ListComp(ast.Tuple([node.key, node.value], ast.Load()), node.generators)
        return dict(self.visit_ListComp(pairs))

    def _bindings(self, loops: Sequence[ast.comprehension]) -> Iterator[None]:
        if not loops:
            yield
            return
        items = self.visit(loops[0].iter)
        if isinstance(items, set | frozenset):
            raise UnknownError
        for item in items:
            self._known.update(bound_names(loops[0].target, item))
            if all(self.visit(condition) for condition in loops[0].ifs):
                yield from self._bindings(loops[1:])


def _rest_of_work(work: int, value: Any) -> int:
    """What is left when a value has been made, seen to its last part; raises UnknownError when nothing is."""
    parts = [value]
    while parts:
        part = parts.pop()
        work -= 1 + (part.bit_length() >> 6 if isinstance(part, int) else 0)
        if isinstance(part, str | bytes | range | list | tuple | set | frozenset | dict):
            work -= len(part)
        if work < 0:
            raise UnknownError
        if isinstance(part, dict):
            parts += [*part.keys(), *part.values()]
        elif isinstance(part, list | tuple | set | frozenset):
            parts += part
    return work


def _refuse_much(how: ast.operator, one: Any, other: Any) -> None:
    """Raise UnknownError for operations whose result may be far larger than what goes in."""
    if isinstance(how, ast.Mod) and not isinstance(one, int | float):
        raise UnknownError
    if isinstance(one, int) and isinstance(other, int):
        bits = {
            ast.Pow: one.bit_length() * other,
            ast.LShift: one.bit_length() + other,
            ast.Mult: one.bit_length() + other.bit_length(),
        }
        if bits.get(type(how), 0) > _MOST_BITS:
            raise UnknownError
    elif isinstance(how, ast.Mult):
        for items, times in ((one, other), (other, one)):
            if not isinstance(items, int | float | complex) and len(items) * times > _MOST_WORK:
                raise UnknownError


def bound_names(target: ast.expr, value: Any) -> dict[str, Any]:
    """What names are bound to when a value is assigned to a target; raises UnknownError when it is not made of names."""
    if isinstance(target, ast.Name):
        return {target.id: value}
    if not (isinstance(target, ast.Tuple | ast.List) and isinstance(value, str | list | tuple | range)):
        raise UnknownError
    if len(target.elts) != len(value):
        raise UnknownError
    return {
        name: part
        for inner, item in zip(target.elts, value, strict=True)
        for name, part in bound_names(inner, item).items()
    }


def _shown(value: Any) -> str:
    if not isinstance(value, str | int | float | None):
        raise UnknownError  # it may hold sets, which are not written in the same order in every process
    return str(value)


def source_of(value: Any) -> str:
    """Source of plain data, the same in every process."""
    if isinstance(value, float) and not math.isfinite(value):
        return "(1e999 - 1e999)" if math.isnan(value) else f"({'-' if value < 0 else ''}1e999)"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{source_of(key)}: {source_of(item)}' for key, item in value.items())}}}"
    if isinstance(value, set | frozenset) and value:
        items = f"{{{', '.join(sorted(map(source_of, value)))}}}"
        return items if isinstance(value, set) else f"frozenset({items})"
    if isinstance(value, list | tuple):
        items = "".join(f"{source_of(item)}, " for item in value)
        return f"[{items}]" if isinstance(value, list) else f"({items})"
    return repr(value)


def is_mutable(value: Any) -> bool:
    return isinstance(value, list | dict | set) or (isinstance(value, tuple) and any(map(is_mutable, value)))
