"""Tasks of the package verifiers that one answer solves, and their own scoring."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from ponder import Completion, Example
from ponder.errors import InputError
from ponder.types import Message
from ponder_tasks import VerifiersConfig, VerifiersRewardConfig
from ponder_tasks.split import in_split

KEY = "verifiers"
"""Where an example's metadata has the task's data."""
_ROLES = ("system", "user", "assistant")


class Verifiers:
    """The task: what a taskset asks, in its own order, on one side of the split."""

    def __init__(self, config: VerifiersConfig) -> None:
        self._config = config
        self._taskset = _taskset(config.taskset, config.options)
        if not self._taskset.bounded and not config.size:
            raise InputError(f"taskset {config.taskset!r} of verifiers never ends: say with `size` how many to take")

    def examples(self) -> Iterator[Example]:
        """Up to `size` tasks.

        Raises:
            InputError: a task needs tools, a container or several turns, or none is on this side of the split.
        """
        config = self._config
        # Tasks are told apart by their content, as verifiers does, not by where they stand.
        chosen = (
            task
            for task in self._taskset
            if in_split(_key(task), config.split, config.held_out_percent, config.split_seed)
        )
        found = False
        for task in islice(chosen, config.size or None):
            found = True
            yield self._example(task)
        if not found:
            raise InputError(f"taskset {config.taskset!r} of verifiers has no task in the split {config.split!r}")

    def _example(self, task: Any) -> Example:
        data = task.data
        _refuse_what_needs_more(task, self._config.taskset)
        answer = getattr(data, "answer", None)
        return Example(
            prompt=_prompt(data, self._config.taskset),
            answer=str(answer) if isinstance(answer, str | int | float) else None,
            metadata={KEY: {"taskset": self._config.taskset, "data": data.model_dump(mode="json", exclude_none=True)}},
        )


class VerifiersReward:
    """The taskset's own rewards for one answer, each times its weight, added up.

    Abstains on examples of other tasks. Code of the taskset's package is run, in the reward's worker.
    """

    def __init__(self, config: VerifiersRewardConfig) -> None:
        self._config = config
        self._made: tuple[type[Any], Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def warm_up(self) -> None:
        """Load the package before any sample is timed, and make the event loop while sockets, which it wakes itself through, are still allowed."""
        self._task_of({})
        self._loop = asyncio.new_event_loop()

    def __call__(self, example: Example, completion: Completion) -> float | None:
        own = example.metadata.get(KEY)
        if not isinstance(own, Mapping) or own.get("taskset") != self._config.taskset:
            return None
        task = self._task_of(own["data"])
        trace = _trace(task, example.prompt, completion.text)
        if self._loop is None:
            self.warm_up()
        assert self._loop is not None
        self._loop.run_until_complete(task.score(trace))
        return float(trace.reward) if trace.rewards else None

    def _task_of(self, data: Mapping[str, Any]) -> Any:
        """The task with this data; without data, only what loads its package."""
        from verifiers.v1 import Task
        from verifiers.v1.utils.generic import concrete_type

        if self._made is None:
            taskset = _taskset(self._config.taskset, self._config.options)
            self._made = concrete_type(type(taskset), Task) or type(next(iter(taskset))), taskset.config.task
        kind, config = self._made
        return kind(kind.data_type().model_validate(data), config) if data else None


def _taskset(name: str, options: Mapping[str, Any]) -> Any:
    try:
        from verifiers.v1.utils.loaders import load_taskset, taskset_config_type
    except ImportError as error:
        raise InputError(
            f"taskset {name!r} needs the package verifiers, 0.4 or later ({error}): pip install 'verifiers>=0.4'"
        ) from error
    try:
        return load_taskset(taskset_config_type(name).model_validate({**options, "id": name}))
    except Exception as error:
        # Imported and built by code of its own, which may fail in any way.
        raise InputError(f"verifiers cannot load the taskset {name!r}: {error}") from error


def _key(task: Any) -> str:
    data: dict[str, Any] = task.data.model_dump(mode="json", exclude_none=True, exclude={"idx"})
    return repr(sorted(data.items()))


def _refuse_what_needs_more(task: Any, name: str) -> None:
    needs = {
        "a container": type(task).NEEDS_CONTAINER or task.data.image,
        "tools": type(task).toolsets(task.config),
        "a user who begins": task.data.prompt is None,
    }
    missing = next((need for need, is_needed in needs.items() if is_needed), None)
    if missing:
        raise InputError(
            f"taskset {name!r} of verifiers needs {missing}; only tasks that one answer solves can be used"
        )


def _prompt(data: Any, name: str) -> list[Message]:
    said = [("user", data.prompt)] if isinstance(data.prompt, str) else [(m.role, m.content) for m in data.prompt]
    messages = [("system", data.system_prompt)] if data.system_prompt else []
    for role, content in messages + said:
        if role not in _ROLES or not isinstance(content, str):
            raise InputError(f"taskset {name!r} of verifiers has a message of {role} that is not text alone")
    return [{"role": role, "content": content} for role, content in messages + said]


def _trace(task: Any, prompt: Any, text: str) -> Any:
    """The conversation of one turn as verifiers records it, with nothing of how it came about."""
    from verifiers.v1 import AssistantMessage, MessageNode, SystemMessage, Trace, TraceTask, UserMessage

    kinds = {"system": SystemMessage, "user": UserMessage, "assistant": AssistantMessage}
    messages = [kinds[message["role"]](content=message["content"]) for message in prompt]
    nodes = [
        MessageNode(parent=place - 1 if place else None, message=message, sampled=place == len(messages))
        for place, message in enumerate([*messages, AssistantMessage(content=text)])
    ]
    about = TraceTask(type=type(task).__name__, data=task.data)
    return Trace.model_construct(task=about, nodes=nodes, is_completed=True, ok=True, stop_condition=None)
