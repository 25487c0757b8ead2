"""Rewards across borders: those of TRL, verifiers and reasoning-gym as ponder's, and ponder's for TRL's trainers.

For plugin authors. A plugin yields a `Component` that builds one of these from a function of its own or of another library:

    Component("helpful", RewardConfig, lambda config: IsolatedTrlReward(helpful))

None of the libraries is imported here.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

from ponder.errors import InputError
from ponder.interfaces import BatchReward, Reward
from ponder.text import extract_answer, last_question
from ponder.types import Completion, Example, Rollout

TrlFunction: TypeAlias = Callable[..., Any]
"""Called with `prompts`, `completions`, `completion_ids` and the data set's columns, all by keyword and of one length.

It returns a number or None for each completion, as a sequence, a tensor or an array; or it is a coroutine that does.
"""

_OF_A_GROUP = frozenset({"states", "prompts", "completions", "answers", "tasks", "infos"})


class TrlReward:
    """A function written for TRL's trainers as a BatchReward: whole batches at once, in the trainer's process.

    It gets prompts and completions as TRL would hand them over (chat prompts with lists of one assistant message), the examples'
    metadata as columns, None where an example has none, and the reference answers as the column `answer`. Trainer state and
    TRL's logging functions are not given. A coroutine may wait for others, such as a server. For functions that look at one
    completion at a time see `IsolatedTrlReward`.
    """

    def __init__(self, function: TrlFunction) -> None:
        self._function = function

    def score(self, rollouts: Sequence[Rollout]) -> list[float | None]:
        """See `BatchReward`."""
        returned = self._function(**_columns(rollouts))
        return _plain_scores(_waited_for(returned) if inspect.isawaitable(returned) else returned)


class IsolatedTrlReward:
    """A function written for TRL's trainers as a Reward: batches of one completion, in worker processes under limits.

    For functions that judge each completion by itself, as nearly all do. What it is called with: see `TrlReward`.
    """

    def __init__(self, function: TrlFunction) -> None:
        self._function = function

    def __call__(self, example: Example, completion: Completion) -> float | None:
        """See `Reward`."""
        scores = _plain_scores(_finished(self._function(**_columns([Rollout(example, completion, 0)]))))
        if len(scores) != 1:
            raise ValueError(f"a function for TRL returned {len(scores)} scores for one completion")
        return scores[0]


class VerifiersReward:
    """A rubric of the library verifiers (its class `Rubric`) as a Reward: the weighted sum of its functions.

    A function gets those that it asks for of `prompt`, `completion` (messages, or text where the prompt is text), `answer` (empty where
    there is none), `info` and `task` (the example's metadata of these names), `state` (a mapping of all these), every other
    entry of the metadata by its name, and what the rubric itself offers, such as `parser`. It may be a coroutine. Functions of weight
    0 are metrics and are not called. A function that fails makes the reward fail on this sample, where verifiers would count 0.

    Raises:
        InputError: a function scores groups or several agents at once, which cannot be done one completion at a time, or there
            is no function to score with.
    """

    def __init__(self, rubric: Any) -> None:
        functions = getattr(rubric, "funcs", None) or getattr(rubric, "get_reward_funcs", tuple)()
        weights = getattr(rubric, "weights", None) or getattr(rubric, "get_reward_weights", tuple)()
        self._weighted = [(function, weight) for function, weight in zip(functions, weights, strict=True) if weight]
        if not self._weighted:
            raise InputError(
                f"the {type(rubric).__name__} has no function to score with: give it one with a weight that is not 0, "
                "as in verifiers.Rubric(funcs=[correct], weights=[1.0])"
            )
        parser = getattr(rubric, "parser", None)
        self._offers = {"parser": parser, **(getattr(rubric, "class_objects", None) or {})}
        for function, _ in self._weighted:
            asked = _OF_A_GROUP & set(inspect.signature(function).parameters)
            if asked:
                raise InputError(
                    f"{_name_of(function)} asks for {min(asked)}: a rubric of group functions is no reward"
                )

    def __call__(self, example: Example, completion: Completion) -> float:
        """See `Reward`."""
        objects = {**self._objects(example, completion), **self._offers}
        return float(sum(weight * _called(function, objects) for function, weight in self._weighted))

    def _objects(self, example: Example, completion: Completion) -> dict[str, Any]:
        own = {
            "prompt": _as_trl(example.prompt),
            "completion": _as_completion(example, completion),
            "answer": example.answer or "",
            "info": example.metadata.get("info", {}),
            "task": example.metadata.get("task", "default"),
        }
        return {**example.metadata, **own, "state": {**example.metadata, **own}}


class ScorerReward:
    """A scorer of reasoning-gym's form, `score(answer, entry)`, as a Reward on the answer that a completion gives.

    `entry` has `question`, `answer` and `metadata`: the example's metadata, or its entry `gym`, where the task `reasoning_gym` keeps a
    problem's own. Many such scorers execute the answer, which is one more reason why rewards run in worker processes.
    """

    def __init__(self, score: Callable[[str | None, dict[str, Any]], float]) -> None:
        self._score = score

    def __call__(self, example: Example, completion: Completion) -> float:
        """See `Reward`."""
        metadata = example.metadata.get("gym", example.metadata)
        entry = {"question": last_question(example.prompt), "answer": example.answer, "metadata": metadata}
        return float(self._score(extract_answer(completion.text), entry))


def for_trl(reward: Reward | BatchReward, name: str, *, answer: str = "answer") -> TrlFunction:
    """A reward function for TRL's trainers, which show it under `name`; `answer` is the data set's column of reference answers.

    The other columns become the examples' metadata. Neighbours with one prompt are a group, and so are all completions where no
    prompts are given. Unlike in a Rubric, the reward runs in the trainer's process, without limits on its time or memory.
    """

    def function(
        completions: Sequence[Any] | None = None,
        *,
        prompts: Sequence[Any] | None = None,
        completion_ids: Sequence[Sequence[int]] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        rows = len(next((given for given in (completions, completion_ids) if given is not None), ()))
        rollouts = _rollouts(
            prompts or [""] * rows, completions or [""] * rows, completion_ids or [()] * rows, columns, answer
        )
        if isinstance(reward, Reward):
            return [reward(rollout.example, rollout.completion) for rollout in rollouts]
        return list(reward.score(rollouts))

    function.__name__ = name
    return function


def _columns(rollouts: Sequence[Rollout]) -> dict[str, list[Any]]:
    examples = [rollout.example for rollout in rollouts]
    names = dict.fromkeys(name for example in examples for name in example.metadata)
    return {
        **{name: [example.metadata.get(name) for example in examples] for name in names},
        "answer": [example.answer for example in examples],
        "prompts": [_as_trl(example.prompt) for example in examples],
        "completions": [_as_completion(rollout.example, rollout.completion) for rollout in rollouts],
        "completion_ids": [list(rollout.completion.token_ids) for rollout in rollouts],
    }


def _rollouts(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    completion_ids: Sequence[Sequence[int]],
    columns: Mapping[str, Any],
    answer: str,
) -> list[Rollout]:
    rows = {
        name: values for name, values in columns.items() if isinstance(values, list) and len(values) == len(prompts)
    }
    rollouts: list[Rollout] = []
    for place, prompt in enumerate(prompts):
        metadata = {name: values[place] for name, values in rows.items() if name != answer}
        reference = rows[answer][place] if answer in rows else None
        example = Example(prompt, None if reference is None else str(reference), metadata)
        completion = Completion(_text(completions[place]), tuple(completion_ids[place]))
        is_next = bool(rollouts) and rollouts[-1].example.prompt != prompt
        rollouts.append(Rollout(example, completion, (rollouts[-1].group if rollouts else 0) + is_next))
    return rollouts


def _text(completion: Any) -> str:
    """What the assistant says in a completion: text, or messages, of which those of tools and users are left out."""
    if isinstance(completion, str):
        return completion
    return "".join(_content(message) for message in completion if message.get("role", "assistant") == "assistant")


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(str(part.get("text") or "") for part in content)


def _as_trl(prompt: Any) -> Any:
    return prompt if isinstance(prompt, str) else [dict(message) for message in prompt]


def _as_completion(example: Example, completion: Completion) -> Any:
    text = completion.text
    return text if isinstance(example.prompt, str) else [{"role": "assistant", "content": text}]


def _called(function: Callable[..., Any], objects: Mapping[str, Any]) -> float:
    asked = inspect.signature(function).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in asked.values())
    return float(_finished(function(**{name: thing for name, thing in objects.items() if takes_all or name in asked})))


def _plain_scores(scores: Any) -> list[float | None]:
    """Scores that may be a tensor or an array, or a sequence of such, as plain numbers."""
    return [_plain(score) for score in _plain(scores)]


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _waited_for(value: Awaitable[Any]) -> Any:
    """What a coroutine returns, run in an event loop as TRL does."""
    import asyncio

    async def waiting() -> Any:
        return await value

    return asyncio.run(waiting())


def _finished(value: Any) -> Any:
    """A value, or what a coroutine returns that is run by hand: an event loop opens sockets, which processes that score may not.

    It may give way to others, of whom there are none, but not wait for anything.
    """
    if not inspect.isawaitable(value):
        return value
    steps = value.__await__()
    try:
        while next(steps) is None:
            continue
    except StopIteration as end:
        return end.value
    raise TypeError(
        "the function waits for something outside, which a reward in a worker process cannot; make it a BatchReward"
    )


def _name_of(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)
