"""A file with a JSON object on each line, as a task."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from ponder import Example
from ponder.errors import InputError
from ponder.types import Prompt
from ponder_tasks import JsonlConfig

_SHOWN_PROBLEMS = 5

_Row = TypeVar("_Row")


class Jsonl:
    """The task; every line is checked before the first example is used."""

    def __init__(self, config: JsonlConfig) -> None:
        self._config = config

    def examples(self) -> Iterator[Example]:
        """The rows in the file's order.

        Raises:
            InputError: the file cannot be read, is empty, or has malformed lines (all counted, the first ones named).
        """
        lines = ((number, line) for number, line in enumerate(self._lines(), start=1) if line.strip())
        examples = converted(lines, self._example, "line", self._config.path)
        if not examples:
            raise InputError(f"{self._config.path} has no rows: write one JSON object a line")
        return iter(examples)

    def _lines(self) -> list[str]:
        path = Path(self._config.path)
        try:
            # Not splitlines(): JSON strings may hold U+2028 and its like, which end no line.
            return path.read_bytes().decode("utf-8").split("\n")
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            line = path.read_bytes()[: error.start].count(b"\n") + 1
            raise InputError(f"{path}: line {line} is not UTF-8 text: save the file as UTF-8") from error

    def _example(self, line: str) -> Example:
        try:
            row = json.loads(line, parse_constant=_no_constant)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON ({error.msg} at column {error.colno})") from None
        if not isinstance(row, dict):
            raise ValueError(f"a JSON object is needed, not {_kind(row)}")
        config = self._config
        if config.prompt not in row:
            raise ValueError(f"no {config.prompt!r}; the columns are {', '.join(map(repr, row)) or 'none'}")
        answer = row.get(config.answer)
        metadata = {name: value for name, value in row.items() if name not in (config.prompt, config.answer)}
        return Example(
            prompt_of(row[config.prompt], config.prompt, as_chat=config.as_chat),
            answer_of(answer, config.answer_after),
            metadata,
        )


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def prompt_of(value: object, column: str, *, as_chat: bool) -> Prompt:
    """A prompt from a column's value: messages, or text, as one message where that is wanted; ValueError for anything else."""
    if isinstance(value, str) and value.strip():
        return [{"role": "user", "content": value}] if as_chat else value
    if isinstance(value, list) and value and all(_is_message(message) for message in value):
        return value
    raise ValueError(f"{column!r} must be text or a list of {{role, content}} messages, not {_kind(value)}")


def _is_message(value: object) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("role"), str) and isinstance(value.get("content"), str)


def answer_of(value: Any, mark: str) -> str | None:
    """A reference answer from a column's value: text, of which what is after the last mark, or a number as text; ValueError for anything else."""
    if isinstance(value, str) and mark:
        _, found, answer = value.rpartition(mark)
        if not found or not answer.strip():
            raise ValueError(f"the answer has nothing after {mark!r}")
        return answer.strip()
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, Decimal):
        # Not str(): it would write 1000 as 1E+3.
        return format(value, "f")
    raise ValueError(f"the answer must be text or a number, not {_kind(value)}")


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "empty text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


def converted(
    rows: Iterable[tuple[int, _Row]], convert: Callable[[_Row], Example], unit: str, source: object
) -> list[Example]:
    """Every numbered row of a source as an example.

    Raises:
        InputError: some rows are malformed (`convert` raises ValueError): all counted, the first ones named by `unit`
            and number.
    """
    examples, problems = [], []
    for number, row in rows:
        try:
            examples.append(convert(row))
        except ValueError as problem:
            problems.append(f"{unit} {number}: {problem}")
    if problems:
        shown = "\n  ".join(problems[:_SHOWN_PROBLEMS])
        more = f"\n  and {len(problems) - _SHOWN_PROBLEMS} more" if len(problems) > _SHOWN_PROBLEMS else ""
        raise InputError(f"{source}: {len(problems)} malformed {unit}(s)\n  {shown}{more}")
    return examples
