"""JSON Lines as the tables that MLflow shows: columns, and rows of cells."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Final, TypedDict

from ponder_mlflow.names import printable

MAX_ROWS: Final = 5000
MAX_CELL: Final = 65536


class Table(TypedDict):
    """What `pandas.DataFrame.to_json(orient="split", index=False)` writes, and MLflow's pages read."""

    columns: list[str]
    data: list[list[Any]]


def read_table(path: Path) -> Table:
    """The rows of a JSON Lines file of objects, columns in order of first appearance, missing cells None.

    Of more than 5,000 rows as many are taken, evenly spaced; text is cut at 64 kB.
    """
    with path.open(encoding="utf-8", errors="replace") as lines:
        rows = [json.loads(line) for line in lines if line.strip()]
    rows = _evenly_spaced(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    data = [[_cell(row.get(name)) for name in columns] for row in rows]
    return {"columns": [printable(name) for name in columns], "data": data}


def _evenly_spaced(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(rows) <= MAX_ROWS:
        return rows
    return [rows[index * len(rows) // MAX_ROWS] for index in range(MAX_ROWS)]


def _cell(value: Any) -> Any:
    """What JSON and a page can show: whole text, lists and mappings as text, no infinities."""
    if isinstance(value, str):
        return printable(value)[:MAX_CELL]
    if isinstance(value, list | dict):
        return json.dumps(value)[:MAX_CELL]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
