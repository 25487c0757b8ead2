"""A Hugging Face data set or Parquet files as a task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ponder import Example
from ponder.errors import InputError
from ponder_tasks import DatasetConfig
from ponder_tasks.jsonl import answer_of, converted, prompt_of
from ponder_tasks.parquet import files_by_split

if TYPE_CHECKING:
    import datasets

_Split = TypeVar("_Split")


class Dataset:
    """The task; every row is checked before the first example is used."""

    def __init__(self, config: DatasetConfig) -> None:
        self._config = config

    def examples(self) -> Iterator[Example]:
        """The rows in the data set's order.

        Raises:
            InputError: it cannot be read, has no such split or column, no rows, or malformed rows (all counted, the first ones named).
        """
        rows = self._rows()
        self._check_columns(rows.column_names)
        examples = converted(enumerate(rows), self._example, "row", self._source)
        if not examples:
            raise InputError(f"{self._source} has no rows")
        return iter(examples)

    @property
    def _source(self) -> str:
        return self._config.hub or str(self._config.path)

    def _rows(self) -> datasets.Dataset:
        # Imported where it is used: building a task must not load Arrow.
        import datasets

        try:
            found: Any = self._from_hub() if self._config.hub else self._from_disk(Path(self._config.path or ""))
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"{self._source} cannot be read: {error}") from error
        if isinstance(found, datasets.DatasetDict):
            return self._split_of(found)
        return found

    def _from_hub(self) -> Any:
        """The split of a data set on the hub, or of its cached copy; code that comes with a data set is never run."""
        import datasets

        config = self._config
        return datasets.load_dataset(
            config.hub, config.subset or None, split=config.split, revision=config.revision or None
        )

    def _from_disk(self, path: Path) -> Any:
        """What `save_to_disk` wrote, a Parquet file, or the split's Parquet files in the order of their names."""
        import datasets

        if path.is_dir():
            splits = files_by_split(path)
            if not splits:
                return datasets.load_from_disk(str(path))
            return datasets.concatenate_datasets([_from_parquet(file) for file in self._split_of(splits)])
        if path.suffix != ".parquet":
            raise ValueError("name a Parquet file, a directory of them, or a directory that `save_to_disk` wrote")
        return _from_parquet(path)

    def _split_of(self, splits: Mapping[str, _Split]) -> _Split:
        if self._config.split not in splits:
            raise InputError(f"{self._source} has no split {self._config.split!r}; have: {', '.join(splits) or 'none'}")
        return splits[self._config.split]

    def _check_columns(self, columns: list[str]) -> None:
        config = self._config
        wanted = [config.prompt, *([config.answer] if config.answer else []), *config.metadata.values()]
        missing = [name for name in wanted if name not in columns]
        if missing:
            raise InputError(f"{self._source} has no column {missing[0]!r}; have: {', '.join(columns) or 'none'}")

    def _example(self, row: Mapping[str, Any]) -> Example:
        config = self._config
        used = {config.prompt, config.answer, *config.metadata.values()}
        renamed = {name: row[column] for name, column in config.metadata.items()}
        others = {name: value for name, value in row.items() if name not in used and name not in renamed}
        answer = answer_of(row[config.answer], config.answer_after) if config.answer else None
        return Example(
            prompt_of(row[config.prompt], config.prompt, as_chat=config.as_chat), answer, {**others, **renamed}
        )


def _from_parquet(file: Path) -> Any:
    # Read here and now: the data sets library would put a copy into its cache.
    import datasets
    import pyarrow.parquet

    return datasets.Dataset(pyarrow.parquet.read_table(file))
