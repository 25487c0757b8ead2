import json

from ponder_mlflow.tables import make_table, read_rows


def table_of(path):
    return make_table(read_rows(path))


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_become_columns_in_order_of_first_appearance(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{"a": 1, "b": "x"}, {"b": "y", "c": None}])
    assert table_of(path) == {"columns": ["a", "b", "c"], "data": [[1, "x", None], [None, "y", None]]}


def test_an_empty_file_is_an_empty_table(tmp_path):
    assert table_of(write(tmp_path / "rows.jsonl", [])) == {"columns": [], "data": []}


def test_a_long_file_is_thinned_evenly(tmp_path):
    data = table_of(write(tmp_path / "rows.jsonl", [{"n": n} for n in range(12_000)]))["data"]
    assert len(data) == 5000
    assert data[0] == [0] and data[2500] == [6000]


def test_cells_hold_nothing_that_a_page_cannot_show(tmp_path):
    row = {"surrogate": "\ud800", "infinite": float("inf"), "nested": {"a": [1]}}
    assert table_of(write(tmp_path / "rows.jsonl", [row]))["data"] == [["?", None, '{"a": [1]}']]
