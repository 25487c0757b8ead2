"""The stage `rejection_sampling`: draws, chooses and writes, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, TextIO

from ponder import Example, StageResult
from ponder.durable import to_json
from ponder.errors import InputError
from ponder.hf import FORWARD, active_parameters
from ponder_rejection_sampling.drawing import Drawer
from ponder_rejection_sampling.rows import Row, appended_rows, source_of
from ponder_rejection_sampling.selection import Selection
from ponder_rejection_sampling.verdict import check_yield

if TYPE_CHECKING:
    from ponder.context import StageContext
    from ponder.rubric import Rubric
    from ponder_rejection_sampling import RejectionSamplingConfig

DATA_FILE: Final = "data.jsonl"
FUNNEL_FILE: Final = "funnel.json"


class RejectionSampling:
    """Each chunk is journalled once it is scored; rows and counts are a function of the chunks, and so survive a kill."""

    def __init__(self, config: RejectionSamplingConfig) -> None:
        self._config = config

    def run(self, context: StageContext) -> StageResult:
        """See `Stage`; writes `data.jsonl` and `funnel.json`.

        Raises:
            StageError: nothing is kept, or the sampler failed.
            InputError: there is nothing to sample, or an example of `also` says nothing.
        """
        config = self._config
        appended = appended_rows(context, config.also)
        examples = _examples(context, config)
        rubric = _rubric(context, config, examples)
        policy = None if config.policy is None else context.policy(config.policy)
        drawer = Drawer(context, config, rubric, policy)
        selection = Selection(config, rubric.names, source_of(context, config, drawer.sampler))
        with (context.directory / DATA_FILE).open("w", encoding="utf-8") as file:
            self._fill(file, context, drawer, selection, examples)
            _warn(context, config, selection)
            _write(file, appended)
        selection.funnel.appended = len(appended)
        metrics = selection.metrics()
        if policy is not None:
            tokens = selection.tally.tokens + selection.tally.prompt_tokens
            metrics["flops"] = float(FORWARD * active_parameters(policy.model) * tokens)
        _report(context, selection, metrics)
        return StageResult(task=context.directory / DATA_FILE, metrics=metrics)

    def _fill(
        self, file: TextIO, context: StageContext, drawer: Drawer, selection: Selection, examples: list[Example]
    ) -> None:
        size = self._config.prompts_per_chunk
        starts = range(0, len(examples), size)
        for index in context.steps(len(starts), description=f"sample {self._config.policy or self._config.sampler}"):
            part = examples[starts[index] : starts[index] + size]
            _write(file, selection.rows(drawer.draw(index, starts[index], part), part))
            funnel = selection.funnel
            context.log({"kept": float(funnel.kept), "yield": funnel.kept / funnel.sampled}, index)


def _examples(context: StageContext, config: RejectionSamplingConfig) -> list[Example]:
    examples = list(context.task(config.task).examples())[: config.max_prompts]
    if not examples:
        raise InputError(f"stage {context.name!r}: task {config.task!r} has no examples, so there is nothing to sample")
    return examples


def _rubric(context: StageContext, config: RejectionSamplingConfig, examples: list[Example]) -> Rubric:
    if not config.rewards:
        raise InputError(
            f"stage {context.name!r}: rewards is empty; name at least the one that decides what is correct"
        )
    rubric = context.rubric(config.rewards)
    rubric.check(examples, config.task)
    return rubric


def _warn(context: StageContext, config: RejectionSamplingConfig, selection: Selection) -> None:
    if selection.unscored:
        context.say(
            f"stage {context.name!r}: reward {config.rewards[0]!r} gave no score to {selection.unscored:,} of "
            f"{selection.funnel.sampled:,} completions; they count as not correct"
        )
    warning = check_yield(context.name, selection)
    if warning:
        context.say(warning)


def _write(file: TextIO, rows: Iterable[Row]) -> None:
    file.writelines(to_json(row) + "\n" for row in rows)
    file.flush()


def _report(context: StageContext, selection: Selection, metrics: dict[str, float]) -> None:
    path = context.directory / FUNNEL_FILE
    path.write_text(to_json(list(selection.funnel.steps()), indent=2) + "\n", encoding="utf-8")
    context.say(f"{context.name}: what was drawn, and what each filter left")
    for line in selection.funnel.lines():
        context.say(line)
    context.log(metrics)
    context.artifact(context.directory / DATA_FILE)
    context.artifact(path)
