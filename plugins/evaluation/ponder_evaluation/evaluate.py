"""The stage `evaluate`: k sampled answers to every problem, scored, counted, and kept."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, cast

from ponder import Example, Policy, Rollout, Sampler, StageResult
from ponder.errors import InputError, StageError
from ponder.metrics import statistics_of
from ponder.randomness import derive_seed
from ponder.rollouts import decode_rollouts, encode_rollouts
from ponder_evaluation.breakdown import by_problem, curves, groups, tally
from ponder_evaluation.compute import sampling_flops
from ponder_evaluation.contamination import Contamination, find_contamination, warnings
from ponder_evaluation.judges import judge_of, refuse_unanswered
from ponder_evaluation.samples import Sample, Yardstick, make_sample, write_samples
from ponder_evaluation.shots import Shots
from ponder_evaluation.summary import group_metrics, summarise

if TYPE_CHECKING:
    from ponder.context import StageContext
    from ponder.journal import Journal
    from ponder.rubric import Rubric, Score
    from ponder_evaluation import EvaluateConfig

SHOTS_TAKEN_FROM = 10_000
"""The first rows of a task that may become examples in a prompt."""


class EvaluateStage:
    """Samples chunk by chunk; the journal keeps each chunk, so that nothing is asked or scored twice."""

    def __init__(self, config: EvaluateConfig) -> None:
        self._config = config

    def run(self, context: StageContext) -> StageResult:
        """See `Stage`; writes `samples.jsonl` and `evaluation.json`."""
        config = self._config
        examples = self._examples(context)
        rubric = context.rubric(config.rewards)
        rubric.check(examples, config.task)
        refuse_unanswered(context.name, config.task, examples, rubric)
        contamination = (
            Contamination() if config.policy is None else find_contamination(context, config.policy, examples)
        )
        self._warn(context, contamination, len(examples))
        questioner = _Questioner(context, config, rubric, _presentation(context, config))
        rollouts, scores = self._ask(context, questioner, examples)
        samples = self._measured(rollouts, scores, rubric)
        by_group = groups(samples, config.groups)
        metrics = {
            **summarise(samples, config.pass_at or [config.samples]),
            **group_metrics(by_group),
            **_reward_metrics(rubric, scores),
            "contaminated": float(len(contamination.problems)),
            **questioner.flops(examples, sum(rollout.completion.length for rollout in rollouts)),
        }
        record = {
            "options": asdict(config),
            "metrics": metrics,
            "problems": [asdict(tally(answers)) for answers in by_problem(samples).values()],
            "curves": curves(samples),
            "groups": by_group,
            "contamination": {"contaminated": len(contamination.problems), **asdict(contamination)},
        }
        self._report(context, samples, record)
        context.log(metrics)
        return StageResult(metrics=metrics)

    def _examples(self, context: StageContext) -> list[Example]:
        name, limit = self._config.task, self._config.max_examples
        examples = list(islice(context.task(name).examples(), limit))
        if not examples:
            raise InputError(f"stage {context.name!r}: task {name!r} has no examples, so there is nothing to evaluate")
        return examples

    def _warn(self, context: StageContext, found: Contamination, count: int) -> None:
        for line in warnings(found, count, self._config.task, self._config.policy or self._config.sampler):
            context.say(f"{context.name}: {line}")

    def _ask(
        self, context: StageContext, questioner: _Questioner, examples: Sequence[Example]
    ) -> tuple[list[Rollout], list[Score]]:
        size = self._config.examples_per_chunk
        starts = range(0, len(examples), size)
        rollouts: list[Rollout] = []
        scores: list[Score] = []
        for index in context.steps(len(starts), description=f"evaluate {self._config.policy or self._config.sampler}"):
            asked, scored = questioner.ask(index, starts[index], examples[starts[index] : starts[index] + size])
            rollouts += asked
            scores += scored
        return rollouts, scores

    def _measured(self, rollouts: Sequence[Rollout], scores: Sequence[Score], rubric: Rubric) -> list[Sample]:
        config = self._config
        yardstick = Yardstick(config.correct_at, config.format, config.language, tuple(config.groups))
        return [
            make_sample(rollout, score, judge_of(rubric, rollout.example).name, yardstick, place % config.samples)
            for place, (rollout, score) in enumerate(zip(rollouts, scores, strict=True))
        ]

    def _report(self, context: StageContext, samples: Sequence[Sample], record: Mapping[str, object]) -> None:
        rows, numbers = context.directory / "samples.jsonl", context.directory / "evaluation.json"
        write_samples(rows, samples)
        numbers.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        context.artifact(rows)
        context.artifact(numbers)


class _Questioner:
    """Puts problems to the policy and the answers to the rewards, each chunk once."""

    def __init__(
        self, context: StageContext, config: EvaluateConfig, rubric: Rubric, present: Callable[[Example], Example]
    ) -> None:
        self._context = context
        self._samples = config.samples
        self._policy = None if config.policy is None else context.policy(config.policy)
        self._sampler: Sampler = context.sampler(config.sampler)
        self._rubric = rubric
        self._present = present
        self._journal: Journal = context.journal()

    def ask(self, index: int, first: int, examples: Sequence[Example]) -> tuple[list[Rollout], list[Score]]:
        """The rollouts of chunk `index`, whose first problem is the task's number `first`, and their scores."""
        key = f"chunk-{index}"
        kept = self._journal.get(key)
        if kept is not None:
            return decode_rollouts(kept)
        started = time.perf_counter()
        rollouts = self._sample(index, first, examples)
        scores = self._rubric.score(rollouts)
        self._journal.append(key, encode_rollouts(rollouts, scores))
        tokens = sum(rollout.completion.length for rollout in rollouts)
        speed = {"tokens_per_second": tokens / (time.perf_counter() - started)}
        self._context.timing({**speed, **statistics_of(self._sampler), **statistics_of(self._rubric)}, index)
        return rollouts, scores

    def flops(self, examples: Sequence[Example], generated: int) -> dict[str, float]:
        """What it cost to read all questions and to generate so many tokens; nothing for a model that is not ours."""
        if self._policy is None:
            return {}
        prompts = (self._present(example).prompt for example in examples)
        return {"flops": sampling_flops(self._policy, prompts, generated)}

    def _sample(self, index: int, first: int, examples: Sequence[Example]) -> list[Rollout]:
        seed = derive_seed(self._context.seed, "chunk", index)
        # Without a policy there is only a sampler that does without one: recipes with another are refused.
        drawn = self._sampler.sample(
            cast("Policy", self._policy), [self._present(example) for example in examples], self._samples, seed
        )
        if len(drawn) != len(examples) or any(len(completions) != self._samples for completions in drawn):
            raise StageError(
                f"stage {self._context.name!r}: the sampler was asked for {self._samples} completions of each of "
                f"{len(examples)} problems and returned {[len(completions) for completions in drawn]}"
            )
        return [
            Rollout(example, completion, first + offset)
            for offset, (example, completions) in enumerate(zip(examples, drawn, strict=True))
            for completion in completions
        ]


def _presentation(context: StageContext, config: EvaluateConfig) -> Callable[[Example], Example]:
    """How a problem is put to the policy: as it is, or behind solved examples."""
    if config.shots_from is None:
        return lambda example: example
    solved = list(islice(context.task(config.shots_from).examples(), SHOTS_TAKEN_FROM))
    return Shots(solved, config.shots, config.shots_from).before


def _reward_metrics(rubric: Rubric, scores: Sequence[Score]) -> dict[str, float]:
    return {name: value for name, value in rubric.metrics(scores).items() if name.startswith("rewards/")}
