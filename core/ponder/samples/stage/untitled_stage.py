"""The stage `untitled`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from ponder import Component, Example, Stage, StageContext, StageResult, hookimpl, ref


@dataclass(frozen=True, kw_only=True)
class UntitledConfig:
    """Keeps the examples of a task whose questions are short; the stage's name then is a task of them."""

    task: str = ref("task")
    """The examples."""
    max_chars: int = 200
    """Longest question that is kept."""

    def __post_init__(self) -> None:
        if self.max_chars < 1:
            raise ValueError("max_chars must be at least 1")

    def plan(self) -> str:
        """What is going to be done, in one sentence."""
        return f"keeps the examples of {self.task} with up to {self.max_chars} characters"


class Untitled:
    """Writes the examples that are kept to a JSON Lines file."""

    def __init__(self, config: UntitledConfig) -> None:
        self._config = config

    def run(self, context: StageContext) -> StageResult:
        """Go through the examples, under a progress bar; what is written lies in the stage's own directory."""
        examples = list(context.task(self._config.task).examples())
        lines = []
        for step in context.steps(len(examples)):
            if _length(examples[step]) <= self._config.max_chars:
                lines.append(_line(examples[step]))
        path = context.directory / "kept.jsonl"
        path.write_text("".join(lines), encoding="utf-8")
        metrics = {"kept": float(len(lines)), "removed": float(len(examples) - len(lines))}
        context.log(metrics)
        return StageResult(task=path, metrics=metrics)


def _length(example: Example) -> int:
    return (
        len(example.prompt) if isinstance(example.prompt, str) else sum(len(turn["content"]) for turn in example.prompt)
    )


def _line(example: Example) -> str:
    row = {"prompt": example.prompt, "answer": example.answer, **example.metadata}
    return json.dumps(row, ensure_ascii=False) + "\n"


@hookimpl
def ponder_stages() -> Iterator[Component[Stage]]:
    """The stage of this plugin."""
    yield Component("untitled", UntitledConfig, Untitled)
