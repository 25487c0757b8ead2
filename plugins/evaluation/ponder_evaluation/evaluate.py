"""The stage `evaluate`: k sampled answers to every problem, scored, counted, and kept."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ponder import Example, Policy, Rollout, Sampler, StageResult
from ponder.errors import InputError, StageError
from ponder.randomness import derive_seed
from ponder.rollouts import decode_rollouts, encode_rollouts
from ponder_evaluation.samples import Sample, make_sample, write_samples
from ponder_evaluation.summary import by_problem, summarise

if TYPE_CHECKING:
    from ponder.context import StageContext
    from ponder.journal import Journal
    from ponder.rubric import Rubric, Score
    from ponder_evaluation import EvaluateConfig


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
        questioner = _Questioner(context, config, rubric)
        samples: list[Sample] = []
        all_scores: list[Score] = []
        starts = range(0, len(examples), config.examples_per_chunk)
        for index in context.steps(len(starts), description=f"evaluate {config.policy}"):
            chunk = examples[starts[index] : starts[index] + config.examples_per_chunk]
            rollouts, scores = questioner.ask(index, starts[index], chunk)
            samples += [
                make_sample(rollout, score, rubric.names[0], config.correct_at, config.language)
                for rollout, score in zip(rollouts, scores, strict=True)
            ]
            all_scores += scores
        metrics = summarise(samples, config.pass_at or [config.samples]) | _reward_metrics(rubric, all_scores)
        self._report(context, samples, metrics)
        return StageResult(metrics=metrics)

    def _examples(self, context: StageContext) -> list[Example]:
        name, limit = self._config.task, self._config.max_examples
        examples = list(context.task(name).examples())[:limit]
        if not examples:
            raise InputError(f"stage {context.name!r}: task {name!r} has no examples, so there is nothing to evaluate")
        for index, example in enumerate(examples):
            if example.answer is None:
                raise InputError(
                    f"stage {context.name!r}: example {index} of task {name!r} has no answer, and without a reference "
                    "nothing can be correct; give every example an answer"
                )
        return examples

    def _report(self, context: StageContext, samples: Sequence[Sample], metrics: dict[str, float]) -> None:
        path = context.directory / "samples.jsonl"
        write_samples(path, samples)
        _write_evaluation(context.directory / "evaluation.json", self._config, samples, metrics)
        context.log(metrics)
        context.artifact(path)
        context.artifact(context.directory / "evaluation.json")


class _Questioner:
    """Puts problems to the policy and the answers to the rewards, each chunk once."""

    def __init__(self, context: StageContext, config: EvaluateConfig, rubric: Rubric) -> None:
        self._context = context
        self._samples = config.samples
        self._policy: Policy = context.policy(config.policy)
        self._sampler: Sampler = context.sampler(config.sampler)
        self._rubric = rubric
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
        tokens = sum(len(rollout.completion.token_ids) for rollout in rollouts)
        self._context.timing({"tokens_per_second": tokens / (time.perf_counter() - started)}, index)
        return rollouts, scores

    def _sample(self, index: int, first: int, examples: Sequence[Example]) -> list[Rollout]:
        seed = derive_seed(self._context.seed, "chunk", index)
        drawn = self._sampler.sample(self._policy, examples, self._samples, seed)
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


def _reward_metrics(rubric: Rubric, scores: Sequence[Score]) -> dict[str, float]:
    return {name: value for name, value in rubric.metrics(scores).items() if name.startswith("rewards/")}


def _write_evaluation(path: Path, config: EvaluateConfig, samples: Sequence[Sample], metrics: dict[str, float]) -> None:
    """The numbers, how they were measured, and how each problem fared."""
    problems = [
        {
            "problem": number,
            "difficulty": answers[0].difficulty,
            "samples": len(answers),
            "correct": sum(sample.correct for sample in answers),
        }
        for number, answers in by_problem(samples).items()
    ]
    record = {"options": asdict(config), "metrics": metrics, "problems": problems}
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
