"""The suite for tasks: the same examples in the same order, fit to be written down and sent to other processes."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ponder.crossing import CrossingError, pack, unpack
from ponder.testing.component import ComponentSuite
from ponder.testing.outcome import brief, described, require, unchecked
from ponder.types import Example


class TaskSuite(ComponentSuite):
    """Checks a task. `cases`, if given, are the examples it begins with."""

    kind = "task"
    cases: ClassVar[Sequence[Example]] = ()
    looked_at: ClassVar[int] = 64
    """How many examples, from the first on, are checked."""
    repeats: ClassVar[bool] = False
    """Whether the task may give an example more than once."""
    first_seconds: ClassVar[float] = 5.0
    """Processor time that building the task and its first example may take."""

    def test_it_begins_with_the_given_examples(self) -> None:
        if not self.cases:
            unchecked("no cases are given: write `cases = [Example(...)]` to say how it begins")
        found = self.first(self.build(), len(self.cases))
        for place, (expected, given) in enumerate(zip(self.cases, found, strict=False)):
            require(given == expected, f"example {place} is {brief(given)}, not {brief(expected)}")
        require(len(found) == len(self.cases), f"it has {len(found)} examples, and {len(self.cases)} are given")

    def test_it_has_examples(self) -> None:
        require(self.first(self.build(), 1), "`examples()` gives none with these options")

    def test_every_example_is_a_record_with_a_prompt(self) -> None:
        for place, example in enumerate(self.first(self.build())):
            require(
                isinstance(example, Example),
                f"example {place} is {type(example).__name__}; make it ponder.Example(...)",
            )
            require(
                _is_prompt(example.prompt),
                f"the prompt of example {place} is {brief(example.prompt)}; it should be a text, or a list of messages such as "
                '{"role": "user", "content": "..."}',
            )

    def test_an_answer_is_text_or_none(self) -> None:
        for place, example in enumerate(self.first(self.build())):
            require(
                example.answer is None or isinstance(example.answer, str),
                f"the answer of example {place} is {brief(example.answer)}, a {type(example.answer).__name__}; write it as text",
            )

    def test_asked_twice_it_gives_the_same_examples_in_the_same_order(self) -> None:
        task = self.build()
        _require_equal(self.first(task), self.first(task), "asked again")

    def test_built_twice_it_gives_the_same_examples(self) -> None:
        _require_equal(self.first(self.build()), self.first(self.build()), "built again")

    def test_looking_at_a_few_examples_changes_nothing(self) -> None:
        task = self.build()
        self.first(task, 2)
        _require_equal(self.first(self.build()), self.first(task), "after a loop that was left early")

    def test_two_loops_at_once_do_not_disturb_each_other(self) -> None:
        task, expected = self.build(), self.first(self.build(), 8)
        pairs = list(itertools.islice(zip(task.examples(), task.examples(), strict=False), 8))
        _require_equal(expected, [one for one, _ in pairs], "beside another loop over it")
        _require_equal(expected, [other for _, other in pairs], "beside another loop over it")

    def test_the_global_random_numbers_do_not_matter(self) -> None:
        before = random.getstate()
        try:
            random.seed(1)
            one = self.first(self.build())
            random.seed(2)
            other = self.first(self.build())
        finally:
            random.setstate(before)
        _require_equal(one, other, "with another state of the module `random`; use random.Random(config.seed)")

    def test_another_process_gives_the_same_examples(self) -> None:
        if self.offered_by_recipe():
            unchecked("it is made from other tasks, which exist in this process only")
        expected = [_plain(example) for example in self.first(self.build())]
        found = self._in_another_process()
        for place, (one, other) in enumerate(zip(expected, found, strict=False)):
            require(
                one == other,
                f"example {place} is {brief(one)} here and {brief(other)} in another process: do not go through a set, use hash(), "
                "or list a directory without sorting",
            )
        require(
            len(expected) == len(found), f"there are {len(expected)} examples here and {len(found)} in another process"
        )

    def test_no_example_comes_twice(self) -> None:
        if self.repeats:
            unchecked("the suite says that it repeats examples")
        seen: dict[str, int] = {}
        for place, example in enumerate(self.first(self.build())):
            before = seen.setdefault(json.dumps(_plain(example), sort_keys=True), place)
            require(
                before == place,
                f"examples {before} and {place} are both {brief(example)}; leave repeated ones out, or write `repeats = True` if "
                "they are meant",
            )

    def test_examples_can_be_written_to_a_file(self) -> None:
        for place, example in enumerate(self.first(self.build())):
            try:
                text = json.dumps(_plain(example), ensure_ascii=False, allow_nan=False)
                text.encode("utf-8")
                again = json.loads(text)
            except (TypeError, ValueError) as error:
                raise AssertionError(
                    f"example {place} is not plain data: {described(error)}. Keep text, finite numbers, lists and mappings in it"
                ) from error
            require(again == _plain(example), f"example {place} is not the same when read again: {brief(again)}")

    def test_examples_can_be_sent_to_the_processes_that_score(self) -> None:
        examples = self.first(self.build())
        try:
            sent = unpack(pack(examples))
        except CrossingError as error:
            raise AssertionError(f"its examples cannot be pickled: {error}. Keep plain data in `metadata`") from error
        _require_equal(examples, sent, "after pickling")

    def test_changing_an_examples_metadata_changes_no_other(self) -> None:
        task = self.build()
        expected = [json.dumps(_plain(example), sort_keys=True) for example in self.first(task)]
        for example in self.first(task):
            if isinstance(example.metadata, dict):
                example.metadata["written by a test"] = 1
        found = [json.dumps(_plain(example), sort_keys=True) for example in self.first(task)]
        require(
            expected == found,
            "what is written into the metadata of an example is there in the next loop; give each example a mapping of its own",
        )

    def test_the_first_example_comes_soon(self) -> None:
        began = time.process_time()
        self.first(self.build(), 1)
        took = time.process_time() - began
        require(
            took <= self.first_seconds,
            f"the first example takes {took:.1f} s of processor time, more than {self.first_seconds:g}; make examples one by one "
            "with `yield`, and do not do it all beforehand",
        )

    def offered(self) -> dict[str, object]:
        """A task that is made from others gets those that the suite names."""
        return {"task": self.task}

    def offered_by_recipe(self) -> bool:
        """Whether the component is made from other entries of a recipe."""
        config = self.config()
        return any("ref" in field.metadata and getattr(config, field.name) for field in dataclasses.fields(config))

    def first(self, task: Any, count: int | None = None) -> list[Example]:
        """The first examples of a task."""
        try:
            return list(itertools.islice(task.examples(), count or self.looked_at))
        except Exception as error:
            raise AssertionError(f"`examples()` raises {described(error)}") from error

    def _in_another_process(self) -> list[Any]:
        request = {
            "type": self.type,
            "options": self.checked().plain,
            "files": [str(file) for file in self.registry().plugin_files],
            "folder": str(self._folder()),
            "count": self.looked_at,
        }
        # Hashes of text are other ones in each process, and here surely others than in this one.
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "PYTHONHASHSEED": "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2",
        }
        command = [sys.executable, "-m", "ponder.testing.task_process"]
        done = subprocess.run(
            command,
            input=json.dumps(request),
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        require(done.returncode == 0, f"in another process it fails: {done.stderr.strip()[-500:]}")
        found: list[Any] = json.loads(done.stdout)
        return found


def _require_equal(expected: Sequence[Example], found: Sequence[Example], when: str) -> None:
    for place, (one, other) in enumerate(zip(expected, found, strict=False)):
        require(one == other, f"example {place} is {brief(one)} at first, and {brief(other)} {when}")
    require(len(expected) == len(found), f"there are {len(expected)} examples at first, and {len(found)} {when}")


def _is_prompt(prompt: object) -> bool:
    if isinstance(prompt, str):
        return bool(prompt)
    return (
        isinstance(prompt, list | tuple)
        and bool(prompt)
        and all(isinstance(turn, Mapping) and {"role", "content"} <= set(turn) for turn in prompt)
    )


def _plain(example: Example) -> dict[str, Any]:
    prompt = example.prompt if isinstance(example.prompt, str) else [dict(turn) for turn in example.prompt]
    return {"prompt": prompt, "answer": example.answer, "metadata": _lists(example.metadata)}


def _lists(value: Any) -> Any:
    """With lists for tuples, which is what comes back from a file."""
    if isinstance(value, Mapping):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, list | tuple) else value
