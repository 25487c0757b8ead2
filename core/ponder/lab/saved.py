"""Rollouts that a stage has kept: `rollouts.jsonl` of reinforcement, `samples.jsonl` of evaluations, or rows of your own."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from ponder.errors import InputError
from ponder.types import Completion, Example, Prompt, Rollout

FILES: Final = ("samples.jsonl", "rollouts.jsonl")
"""Looked for, in this order, in a stage's directory."""
_PREFIX: Final = "rewards/"
_LONGEST_LINE: Final = 1 << 24


@dataclass(frozen=True, slots=True)
class Saved:
    """A rollout with the scores it was given when it was kept."""

    place: str
    """File and line."""
    rollout: Rollout
    """Its group is that of completions of one prompt in one step."""
    scores: Mapping[str, float | None] = field(default_factory=dict)
    """By reward."""
    total: float | None = None


def read_saved(path: Path, most: int | None = None) -> list[Saved]:
    """The rollouts of a file, or of the stage in a directory; at most so many.

    A row is a JSON object with `completion`, and as far as it knows them `prompt`, `answer`, `metadata`, `step`, `group` (or
    `problem`), `tokens` (or `length`), `finish_reason`, `score` (or `reward`), and scores as `scores` or `rewards/<name>`.

    Raises:
        InputError: there is no such file, or a line is no such row; it is named.
    """
    file = _file(path)
    groups: dict[tuple[object, ...], int] = {}
    try:
        with file.open(encoding="utf-8") as lines:
            found = [_saved(f"{file.name}:{number}", row, groups) for number, row in islice(_rows(file, lines), most)]
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error
    if not found:
        raise InputError(f"{file} holds no rollouts")
    return found


def _file(path: Path) -> Path:
    if path.is_file():
        return path
    found = next((path / name for name in FILES if (path / name).is_file()), None)
    if found is None:
        raise InputError(f"{path}: give a file of rollouts, or the directory of a stage that has {' or '.join(FILES)}")
    return found


def _rows(file: Path, lines: Iterator[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line) if len(line) <= _LONGEST_LINE else None
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict) or not isinstance(row.get("completion"), str):
            raise InputError(f"{file}:{number}: not a rollout; a row is a JSON object with the text `completion`")
        yield number, row


def _saved(place: str, row: Mapping[str, Any], groups: dict[tuple[object, ...], int]) -> Saved:
    prompt = _prompt(row.get("prompt"))
    key = (row.get("step"), row.get("group", row.get("problem")), repr(prompt))
    answer, metadata = row.get("answer"), row.get("metadata")
    example = Example(
        prompt,
        None if answer is None else str(answer),
        metadata if isinstance(metadata, dict) else {},
    )
    length = row.get("tokens", row.get("length", 0))
    tokens = tuple(range(length)) if isinstance(length, int) and 0 <= length < 1 << 20 else ()
    is_cut = row.get("finish_reason") == "length" or row.get("truncated") is True
    completion = Completion(row["completion"], tokens, (), "length" if is_cut else "stop")
    return Saved(
        place,
        Rollout(example, completion, groups.setdefault(key, len(groups))),
        _scores(row),
        _number(row.get("score", row.get("reward"))),
    )


def _prompt(value: object) -> Prompt:
    """Messages as they are; a text as the one message it was, since rewards read what the user asked."""
    if isinstance(value, list) and all(isinstance(message, dict) and "content" in message for message in value):
        return [{"role": str(message.get("role", "user")), "content": str(message["content"])} for message in value]
    return [{"role": "user", "content": "" if value is None else str(value)}]


def _scores(row: Mapping[str, Any]) -> dict[str, float | None]:
    given = row.get("scores")
    nested = given if isinstance(given, dict) else {}
    flat = {name.removeprefix(_PREFIX): value for name, value in row.items() if name.startswith(_PREFIX)}
    return {str(name): _number(value) for name, value in {**nested, **flat}.items()}


def _number(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None  # type: ignore[arg-type]


def groups_of(saved: Sequence[Saved]) -> dict[int, list[int]]:
    """The places of the rollouts of each group."""
    found: dict[int, list[int]] = {}
    for place, row in enumerate(saved):
        found.setdefault(row.rollout.group, []).append(place)
    return found
