"""reasoning-gym's problems as a task and its scorers as a reward."""

from __future__ import annotations

import difflib
import functools
import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from itertools import islice
from typing import Any

from ponder import Completion, Example
from ponder.errors import InputError
from ponder.text import extract_answer
from ponder_tasks import ReasoningGymConfig, ReasoningGymRewardConfig
from ponder_tasks.split import in_split

with warnings.catch_warnings():
    # One of its dependencies compares with `is` and would say so in the midst of the first run.
    warnings.simplefilter("ignore", SyntaxWarning)
    import reasoning_gym
    from reasoning_gym.factory import CURRICULA, DATASETS

BATCH = 1024
MAX_ATTEMPTS = 64
"""Batches in all."""
PATIENCE = 3
"""Batches in a row without a new problem, after which there is none left to hope for."""


class ReasoningGym:
    """The task: problems of one data set, without repeats, on one side of the split."""

    def __init__(self, config: ReasoningGymConfig) -> None:
        self._config = config
        self._options = _checked_options(config)

    def examples(self) -> Iterator[Example]:
        """Up to `size` different problems, as one user message each.

        Raises:
            InputError: the data set refuses its options, or makes no problem on this side of the split.
        """
        taken = 0
        for entry in islice(self._different(), self._config.size):
            yield self._example(entry, taken)
            taken += 1
        if not taken:
            raise InputError(
                f"reasoning_gym's {self._config.dataset} made no problem for the split {self._config.split!r}: "
                "widen its options or raise held_out_percent"
            )

    def _different(self) -> Iterator[Mapping[str, Any]]:
        """All problems on this side of the split; the generator repeats itself where they are few."""
        batch = max(BATCH, self._config.size)
        config = self._config
        seen: set[str] = set()
        in_vain = 0
        for attempt in range(MAX_ATTEMPTS):
            before = len(seen)
            for entry in self._dataset(size=batch, seed=config.seed + attempt * batch):
                question = str(entry["question"])
                if question not in seen and in_split(
                    question, config.split, config.held_out_percent, config.split_seed
                ):
                    yield entry
                seen.add(question)
            in_vain = 0 if len(seen) > before else in_vain + 1
            if in_vain == PATIENCE:
                return

    def _dataset(self, size: int, seed: int) -> Any:
        try:
            return reasoning_gym.create_dataset(self._config.dataset, size=size, seed=seed, **self._options)
        except (AssertionError, ValueError, TypeError) as error:
            raise InputError(
                f"reasoning_gym's {self._config.dataset} refuses the options {self._options}: {error}"
            ) from error

    def _example(self, entry: Mapping[str, Any], number: int) -> Example:
        # Through JSON and back: scorers run in another process, and tuples would come out of it as lists anyway.
        metadata = json.loads(json.dumps(entry["metadata"], default=str))
        difficulty = metadata.get(self._config.difficulty) if self._config.difficulty else None
        question, language = self._worded(str(entry["question"]), metadata, number)
        extra = {"difficulty": difficulty, "language": language}
        return Example(
            prompt=[{"role": "user", "content": question}],
            answer=None if entry["answer"] is None else str(entry["answer"]),
            metadata={"dataset": self._config.dataset, "gym": metadata}
            | ({"options": self._options} if self._options else {})
            | {name: value for name, value in extra.items() if value is not None},
        )

    def _worded(self, question: str, metadata: Mapping[str, Any], number: int) -> tuple[str, str | None]:
        """The problem in the words whose turn it is, and their language."""
        if not self._config.wordings:
            return question, None
        language, wording = list(self._config.wordings.items())[number % len(self._config.wordings)]
        known = {**metadata, "question": question}

        def value(key: re.Match[str]) -> str:
            if key[1] not in known:
                raise InputError(
                    f"wordings.{language}: {self._config.dataset} has no {key[0]}; it has {', '.join(sorted(known))}"
                )
            return str(known[key[1]])

        return re.sub(r"\{(\w+)\}", value, wording), language


def _checked_options(config: ReasoningGymConfig) -> dict[str, Any]:
    if config.dataset not in DATASETS:
        near = difflib.get_close_matches(config.dataset, DATASETS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; it has {len(DATASETS)} of them"
        raise InputError(f"reasoning_gym has no data set {config.dataset!r}{hint}")
    if config.dataset == "composite":
        raise InputError(
            "reasoning_gym's composite only mixes its other data sets: give each of them a task, and mix these with the task `mixture`"
        )
    known = {item.name for item in fields(DATASETS[config.dataset][1])} - {"seed", "size"}
    for name in config.options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(sorted(known))}"
            raise InputError(f"reasoning_gym's {config.dataset} has no option {name!r}; {hint}")
    return {**_of_level(config.dataset, config.level), **config.options}


def _of_level(dataset: str, level: int | None) -> dict[str, Any]:
    """The options that the data set's curriculum sets at a level: each of its attributes at that level, or at its last."""
    if level is None:
        return {}
    if dataset not in CURRICULA:
        raise InputError(f"reasoning_gym's {dataset} has no curriculum: leave `level` out, and set its `options`")
    curriculum = reasoning_gym.factory.create_curriculum(dataset)
    lengths = {name: len(attribute.levels) for name, attribute in curriculum.attributes.items()}
    if level >= max(lengths.values()):
        raise InputError(f"reasoning_gym's {dataset} has levels 0 to {max(lengths.values()) - 1}, not {level}")
    for name, length in lengths.items():
        curriculum.set_attr_level(name, min(level, length - 1))
    # Two configurations are compared so that only what the curriculum sets is left: the rest keeps its default.
    leveled, default = curriculum.generate_configuration(), DATASETS[dataset][1]()
    return {
        item.name: value
        for item in fields(leveled)
        if (value := getattr(leveled, item.name)) != getattr(default, item.name)
    }


@functools.cache
def _scorer(dataset: str, options: str) -> Callable[[str | None, dict[str, Any]], float]:
    """The scorer as it is with these options, JSON of an object: some scorers look at them."""
    score: Callable[[str | None, dict[str, Any]], float] = reasoning_gym.create_dataset(
        dataset, **json.loads(options)
    ).score_answer
    return score


class ReasoningGymReward:
    """The data set's own scorer on the extracted answer, in [0, 1]. Abstains where the example is not reasoning-gym's.

    Some of its scorers execute the answer: rewards run in killable worker processes for that reason.
    """

    def __init__(self, config: ReasoningGymRewardConfig) -> None:
        self._config = config

    def __call__(self, example: Example, completion: Completion) -> float | None:
        """Score the answer that the completion gives."""
        dataset = example.metadata.get("dataset")
        if dataset not in DATASETS or "gym" not in example.metadata:
            return None
        answer = extract_answer(completion.text)
        if dataset in _COMPARED_AS_TEXT:
            return float(answer is not None and answer.strip().casefold() == str(example.answer).casefold())
        entry = {"answer": example.answer, "metadata": _restored(str(dataset), example.metadata["gym"])}
        options = json.dumps(example.metadata.get("options", {}), sort_keys=True)
        scorer = _scorer(str(dataset), options)
        try:
            score = float(scorer(answer, entry))
        except Exception:  # some scorers raise whatever an answer makes them trip over: it is not the right one
            return 0.0
        return score if self._config.partial_credit else float(score >= 1.0)


_COMPARED_AS_TEXT = frozenset({"game_of_life_halting"})
"""Data sets whose own scorer takes any text for True."""


def _restored(dataset: str, metadata: dict[str, Any]) -> dict[str, Any]:
    """The metadata with the one thing put back that JSON changes and a scorer minds: grids are compared as tuples."""
    if dataset not in ("arc_agi", "rearc"):
        return metadata
    return {**metadata, "output": tuple(map(tuple, metadata["output"]))}
