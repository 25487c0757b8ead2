"""JSON Lines as the tables that MLflow shows: columns, and rows of cells."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypedDict, TypeVar

from ponder_mlflow.names import printable

T = TypeVar("T")

MAX_ROWS: Final = 5000
MAX_CELL: Final = 65536


class Table(TypedDict):
    """What `pandas.DataFrame.to_json(orient="split", index=False)` writes, and MLflow's pages read."""

    columns: list[str]
    data: list[list[Any]]


def evenly_spaced(items: Sequence[T], most: int) -> list[T]:
    """All items, or `most` of them that lie evenly among the rest."""
    count = min(most, len(items))
    return [items[index * len(items) // count] for index in range(count)]


def read_rows(path: Path) -> list[dict[str, Any]] | None:
    """The rows of a JSON Lines file of objects, None for any other file; of more than 5,000 as many are taken, evenly spaced."""
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            rows = [json.loads(line) for line in lines if line.strip()]
    except ValueError:
        return None
    return evenly_spaced(rows, MAX_ROWS) if all(isinstance(row, dict) for row in rows) else None


def make_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The rows as columns in order of first appearance, missing cells None, text cut at 64 kB."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    data = [[_cell(row.get(name)) for name in columns] for row in rows]
    return {"columns": [printable(name) for name in columns], "data": data}


def _cell(value: Any) -> Any:
    """What JSON and a page can show: whole text, lists and mappings as text, no infinities."""
    if isinstance(value, str):
        return printable(value)[:MAX_CELL]
    if isinstance(value, list | dict):
        return json.dumps(value)[:MAX_CELL]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
