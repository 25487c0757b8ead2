"""Hugging Face data sets and Parquet files, good and bad."""

from decimal import Decimal

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from ponder.errors import InputError
from ponder_tasks import DatasetConfig
from ponder_tasks.dataset import Dataset

ROWS = {"question": ["1 + 1?", "2 + 2?"], "gold": [2, 4], "level": ["easy", "hard"]}
COLUMNS = {"prompt": "question", "answer": "gold"}


def read(path, **options):
    return list(Dataset(DatasetConfig(path=path, **{**COLUMNS, **options})).examples())


def parquet(path, rows=ROWS):
    pyarrow.parquet.write_table(pyarrow.table(rows), path)
    return path


@pytest.fixture
def saved(tmp_path):
    rows = datasets.Dataset.from_dict(ROWS)
    datasets.DatasetDict({"train": rows, "test": rows.select([1])}).save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


def test_rows_of_a_parquet_file_become_examples_in_order(tmp_path):
    first, second = read(parquet(tmp_path / "rows.parquet"))
    assert (first.prompt, first.answer, first.metadata) == ("1 + 1?", "2", {"level": "easy"})
    assert (second.prompt, second.answer) == ("2 + 2?", "4")


def test_the_files_of_a_directory_are_read_in_the_order_of_their_names(tmp_path):
    parquet(tmp_path / "b.parquet", {"question": ["later"], "gold": [1]})
    parquet(tmp_path / "a.parquet", {"question": ["earlier"], "gold": [1]})
    assert [example.prompt for example in read(tmp_path)] == ["earlier", "later"]


@pytest.fixture
def by_name(tmp_path):
    names = ["train-00000-of-00001", "test-00000-of-00001", "dev", "my_eval_2", "other", "test/one", "valid/train.b"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        parquet(tmp_path / f"{name}.parquet", {"question": [name], "gold": [1]})
    return tmp_path


@pytest.mark.parametrize(
    ("split", "files"),
    [
        ("train", ["other", "train-00000-of-00001"]),
        ("test", ["my_eval_2", "test/one", "test-00000-of-00001"]),
        ("validation", ["dev", "valid/train.b"]),
    ],
)
def test_the_files_of_a_directory_belong_to_the_split_that_their_name_or_folder_says(by_name, split, files):
    assert [example.prompt for example in read(by_name, split=split)] == files


def test_a_split_that_no_file_of_a_directory_belongs_to_is_refused_with_those_there_are(by_name):
    with pytest.raises(InputError, match="no split 'nonsense'; have: validation, test, train"):
        read(by_name, split="nonsense")


def test_files_of_the_hub_s_folder_data_name_any_split(tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("train_sft-00000-of-00001", "test_sft-00000-of-00001"):
        parquet(tmp_path / "data" / f"{name}.parquet", {"question": [name], "gold": [1]})
    assert [row.prompt for row in read(tmp_path, split="test_sft")] == ["test_sft-00000-of-00001"]


def test_a_folder_that_names_no_split_may_be_another_data_set_and_is_not_read(tmp_path):
    (tmp_path / "socratic").mkdir()
    parquet(tmp_path / "socratic" / "train.parquet", {"question": ["other"], "gold": [1]})
    parquet(tmp_path / "train.parquet", {"question": ["mine"], "gold": [1]})
    assert [row.prompt for row in read(tmp_path)] == ["mine"]


def test_decimal_answers_are_text(tmp_path):
    rows = {"question": ["a", "b"], "gold": [Decimal("1.50"), Decimal("1E+3")]}
    assert [row.answer for row in read(parquet(tmp_path / "rows.parquet", rows))] == ["1.50", "1000.00"]


def test_a_saved_data_set_is_read_by_its_split(saved):
    assert [example.answer for example in read(saved)] == ["2", "4"]
    assert [example.answer for example in read(saved, split="test")] == ["4"]


def test_columns_can_be_renamed_and_prompts_become_messages(tmp_path):
    (first, _) = read(parquet(tmp_path / "rows.parquet"), metadata={"difficulty": "level"}, as_chat=True)
    assert first.prompt == [{"role": "user", "content": "1 + 1?"}]
    assert first.metadata == {"difficulty": "easy"}


def test_an_answer_can_be_what_comes_after_a_mark(tmp_path):
    rows = {"question": ["1 + 1?"], "gold": ["It is <<1+1=2>>2.\n#### 2\n"]}
    assert read(parquet(tmp_path / "rows.parquet", rows), answer_after="####")[0].answer == "2"


def test_messages_are_kept_and_answers_may_be_absent(tmp_path):
    messages = [{"role": "user", "content": "hello"}]
    (example,) = read(parquet(tmp_path / "rows.parquet", {"question": [messages]}), answer="")
    assert (example.prompt, example.answer) == (messages, None)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"prompt": "promt"}, "no column 'promt'; have: question, gold, level"),
        ({"metadata": {"a": "b"}}, "no column 'b'"),
        ({"split": "dev"}, "no split 'dev'; have: train, test"),
    ],
)
def test_missing_columns_and_splits_are_said(saved, options, complaint):
    with pytest.raises(InputError, match=complaint):
        read(saved, **options)


def test_malformed_rows_are_counted_and_named(tmp_path):
    rows = {"question": ["fine", "", None], "gold": ["1", "1", "1"]}
    with pytest.raises(InputError, match=r"(?s)2 malformed row.*row 1: .*empty text.*row 2: .*null"):
        read(parquet(tmp_path / "rows.parquet", rows))


def test_an_empty_data_set_is_said(tmp_path):
    with pytest.raises(InputError, match="has no rows"):
        read(parquet(tmp_path / "rows.parquet", {"question": [], "gold": []}))


@pytest.mark.parametrize("name", ["text.txt", "broken.parquet", "absent.parquet", "."])
def test_what_is_no_data_set_is_said(tmp_path, name):
    (tmp_path / "text.txt").write_text("question")
    if name == "broken.parquet":
        (tmp_path / name).write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / name)


def test_a_data_set_of_the_hub_that_cannot_be_had_is_said(monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: (_ for _ in ()).throw(ConnectionError("offline")))
    with pytest.raises(InputError, match="some/data cannot be read: offline"):
        list(Dataset(DatasetConfig(hub="some/data")).examples())


@pytest.mark.parametrize("options", [{}, {"path": "here", "hub": "there"}])
def test_one_place_must_be_named(options):
    with pytest.raises(ValueError, match="path or hub"):
        DatasetConfig(**options)
