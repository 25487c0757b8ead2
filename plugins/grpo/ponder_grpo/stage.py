"""The stage `grpo`: draw completions, score them, learn from what was better than its group, and again."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ponder.errors import InputError
from ponder.hf import TrainingState, adamw
from ponder.interfaces import Policy, Sampler
from ponder.randomness import derive_seed
from ponder.types import StageResult
from ponder_grpo.batch import make_batch
from ponder_grpo.config import GrpoConfig
from ponder_grpo.engine import Counters, Engine
from ponder_grpo.measures import measure
from ponder_grpo.problems import Problems, load_examples
from ponder_grpo.reference import Reference
from ponder_grpo.rollouts import Drawer, Drawn
from ponder_grpo.tables import Table, rows_of, sample_rows
from ponder_grpo.update import needs_reference

if TYPE_CHECKING:
    from ponder.context import StageContext

FINAL_STEPS = 10
"""Steps whose mean the stage's result reports."""
SILENT_STEPS = 20
"""Steps without a signal after which the user is told."""
NOTABLE_GAP = 0.05
"""Mean distance, in nats, between sampler and trainer that the user is told of."""


class GrpoStage:
    """Trains a policy on a task's problems with rewards."""

    def __init__(self, config: GrpoConfig) -> None:
        self.config = config

    def run(self, context: StageContext) -> StageResult:
        """See `Stage`."""
        training = Training(self.config, context)
        total = self.config.steps
        for step in context.steps(total, training.state, checkpoint_every=self.config.checkpoint_every):
            training.step(step)
        return training.finish()


@dataclass
class GrpoState:
    """Everything a later step depends on: weights, optimizer, a refreshed reference, counters."""

    training: TrainingState
    counters: Counters

    def save(self, directory: Path) -> None:
        """See `Checkpointable`."""
        self.training.save(directory)
        (directory / "counters.json").write_text(json.dumps(asdict(self.counters)), encoding="utf-8")

    def load(self, directory: Path) -> None:
        """See `Checkpointable`."""
        self.training.load(directory)
        kept = json.loads((directory / "counters.json").read_text(encoding="utf-8"))
        for name, value in kept.items():
            setattr(self.counters, name, value)


class Training:
    """One run of the stage."""

    def __init__(self, config: GrpoConfig, context: StageContext) -> None:
        self.config = config
        self.context = context
        examples = load_examples(context.task(config.task), config.task, config.prompts_per_step)
        rubric = context.rubric(config.rewards)
        rubric.check(examples, config.task)
        self.policy = context.policy(config.policy)
        sampler = context.sampler(config.sampler)
        self.drawer = Drawer(self.policy, sampler, rubric, context.journal())
        self.problems = Problems(examples, context.seed)
        self.engine = self._make_engine(sampler)
        reference = self.engine.reference
        extra = {"reference": reference.frozen.model} if reference is not None and reference.changes else {}
        self.state = GrpoState(TrainingState(self.policy, self.engine.optimizer, extra), self.engine.counters)
        tables = context.journal("tables")
        self.rollouts = Table(context.directory / "rollouts.jsonl", tables)
        self.probes = Table(context.directory / "probes.jsonl", tables)

    def step(self, step: int) -> None:
        """One step, from prompts to updated weights, with everything it reports."""
        if self.config.probes and step % self.config.probe_every == 0:
            self._probe(step)
        config, seed = self.config, derive_seed(self.context.seed, "rollout", step)
        examples = self.problems.of_step(step, config.prompts_per_step)
        drawn = self.drawer.draw(f"step-{step}", examples, config.group_size, seed)
        batch = make_batch(drawn.rollouts, drawn.scores, self.policy.tokenizer, config)
        started = time.perf_counter()
        learnt = self.engine.learn(step, batch.rows)
        seconds = {**drawn.seconds, "train": time.perf_counter() - started}
        self._report(step, drawn, {"groups_without_signal": batch.tied_share, **learnt})
        self._report_timing(step, drawn, seconds)

    def finish(self) -> StageResult:
        """Save the policy and sum up."""
        if self.config.probes:
            self._probe(self.config.steps)
        for table in (self.rollouts, self.probes):
            table.write()
            self.context.artifact(table.path)
        directory = self.context.directory / "policy"
        self.policy.save(directory)
        return StageResult(policy=directory, metrics=_means(self.engine.counters.recent))

    def _make_engine(self, sampler: Sampler) -> Engine:
        config, context = self.config, self.context
        loss = context.loss(config.loss)
        return Engine(
            policy=self.policy,
            optimizer=adamw(self.policy.model, config.learning_rate, config.betas, config.weight_decay),
            loss=loss,
            reference=self._make_reference() if needs_reference(loss) else None,
            config=config,
            counters=Counters(),
            seed=context.seed,
            temperature=_temperature(sampler, config.sampler),
            max_tokens=_length_limit(sampler),
        )

    def _make_reference(self) -> Reference:
        frozen: Policy = self.context.policy(self.config.reference or self.config.policy)
        return Reference(frozen, self.policy, self.config)

    def _probe(self, step: int) -> None:
        examples = self.problems.probes(self.config.probes)
        drawn = self.drawer.draw(f"probe-{step}", examples, 1, derive_seed(self.context.seed, "probe"))
        self.probes.add(step, rows_of(drawn, range(len(drawn.rollouts))))

    def _report(self, step: int, drawn: Drawn, learnt: Mapping[str, float]) -> None:
        completions = [rollout.completion for rollout in drawn.rollouts]
        scored = self.drawer.rubric.metrics(list(drawn.scores))
        metrics = {**scored, **measure(completions, self.config.language), **learnt}
        self.context.log(metrics, step)
        counters = self.engine.counters
        counters.recent = [*counters.recent, metrics][-FINAL_STEPS:]
        if step % self.config.table_every == 0 or step == self.config.steps - 1:
            self.rollouts.add(step, sample_rows(drawn, self.config.group_size))
        self._explain(step, drawn, metrics)

    def _report_timing(self, step: int, drawn: Drawn, seconds: Mapping[str, float]) -> None:
        timing = {f"seconds/{phase}": spent for phase, spent in seconds.items()}
        if drawn.seconds:
            tokens = sum(len(rollout.completion.token_ids) for rollout in drawn.rollouts)
            timing["completion_tokens_per_second"] = tokens / max(sum(seconds.values()), 1e-9)
        self.context.timing(timing, step)

    def _explain(self, step: int, drawn: Drawn, metrics: Mapping[str, float]) -> None:
        """Say what a number in a log would not tell everybody."""
        counters = self.engine.counters
        counters.silent_in_a_row = counters.silent_in_a_row + 1 if metrics["groups_without_signal"] == 1.0 else 0
        if counters.silent_in_a_row and counters.silent_in_a_row % SILENT_STEPS == 0:
            self.context.say(_why_silent(drawn, metrics, counters.silent_in_a_row, self.config.group_size))
        gap = metrics.get("sampler_gap", 0.0)
        if step == 0 and not gap <= NOTABLE_GAP:
            self.context.say(
                f"the sampler's log-probabilities are {gap:.3g} nats a token away from the trainer's, on average: "
                "are the sampler's temperature, precision and weights those of the policy?"
            )


def _why_silent(drawn: Drawn, metrics: Mapping[str, float], steps: int, group_size: int) -> str:
    found = f"no group had completions with different scores in the last {steps} steps, so nothing was learnt"
    texts = [rollout.completion.text for rollout in drawn.rollouts]
    distinct = sum(len(set(texts[start : start + group_size])) for start in range(0, len(texts), group_size))
    if distinct * group_size <= 2 * len(texts):
        return f"{found}: the completions of a group are nearly all the same text; raise the sampler's temperature"
    mean = metrics.get("reward")
    if mean is None:
        return f"{found}: no completion got a score; look at the rewards"
    return (
        f"{found}: at a mean reward of {mean:.3g} the problems are too easy or too hard for the policy; mix in others"
    )


def _temperature(sampler: Sampler, name: str) -> float:
    temperature = float(getattr(sampler, "temperature", 1.0))
    if not (math.isfinite(temperature) and temperature > 0):
        raise InputError(
            f"sampler {name!r} has temperature {temperature:g}: grpo compares different answers, so it must be above 0"
        )
    return temperature


def _length_limit(sampler: Sampler) -> int:
    """The sampler's `max_new_tokens`, its own or its options'; 0 when it has none."""
    own = getattr(sampler, "max_new_tokens", None)
    return int(own or getattr(getattr(sampler, "config", None), "max_new_tokens", None) or 0)


def _means(recent: list[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for metrics in recent for name in metrics)
    columns = {name: [metrics[name] for metrics in recent if name in metrics] for name in names}
    return {name: math.fsum(values) / len(values) for name, values in columns.items()}
