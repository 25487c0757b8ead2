"""The stage `grpo`: draw completions, score them, learn from what was better than its group, and again."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ponder.hf import FORWARD, TrainingState, active_parameters, encode_prompt, optimizer_of
from ponder.randomness import derive_seed
from ponder.tables import ExpertLoads, Table
from ponder.types import Example, StageResult
from ponder_grpo.batch import count_teaching, make_batch
from ponder_grpo.compute import make_budget
from ponder_grpo.config import GrpoConfig
from ponder_grpo.curriculum import Curriculum, length_limit
from ponder_grpo.deviations import DEVIATIONS_FILE, report_deviations
from ponder_grpo.engine import Counters, Engine
from ponder_grpo.experts import announcement, experts_of
from ponder_grpo.problems import check_lengths
from ponder_grpo.reference import make_reference
from ponder_grpo.replay import keep_update
from ponder_grpo.reports import Reporter
from ponder_grpo.rollouts import Drawer, Drawn
from ponder_grpo.rows import Row
from ponder_grpo.tables import rows_of
from ponder_grpo.update import needs_reference

if TYPE_CHECKING:
    from ponder.context import StageContext


class GrpoStage:
    """Trains a policy on a task's problems with rewards."""

    def __init__(self, config: GrpoConfig) -> None:
        self.config = config

    def run(self, context: StageContext) -> StageResult:
        """See `Stage`."""
        training = Training(self.config, context)
        total = self.config.steps
        for step in context.steps(total, training.state, checkpoint_every=self.config.checkpoint_every):
            # Looked at before a step, so that a run interrupted behind its last step ends where it would have.
            if training.is_spent:
                break
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
        self.budget = make_budget(config, context)
        self.curriculum = Curriculum(config, context)
        self.policy = context.policy(config.policy)
        check_lengths(self.curriculum.examples, self.policy, self.policy.tokenizer, config.task)
        self.experts = experts_of(self.policy, config)
        if self.experts is not None:
            context.say(announcement(config))
        self.engine = self._make_engine()
        self.counters = self.engine.counters
        self.state = GrpoState(self._training_state(), self.counters)
        self.journal = context.journal()
        tables = context.journal("tables")
        self.probes = Table(context.directory / "probes.jsonl", tables)
        self.rollouts = Table(context.directory / "rollouts.jsonl", tables)
        self.loads = ExpertLoads(context.directory, tables, config.steps)
        self.reporter = Reporter(config, context, self.counters, self.rollouts)
        if config.preset is not None:
            report_deviations(config, self.engine.loss, self.curriculum.samplers.values[0], context)

    @property
    def is_spent(self) -> bool:
        """Whether the compute budget ends the stage here."""
        return self.budget.is_spent(self.counters.flops)

    def step(self, step: int) -> None:
        """One step, from prompts to updated weights, with everything it reports."""
        config = self.config
        if config.probes and step % config.probe_every == 0:
            self._probe(step)
        max_tokens = length_limit(self.curriculum.samplers.at(step))
        drawn = self._draw(step)
        started = time.perf_counter()
        batch = make_batch(drawn.rollouts, drawn.scores, self.policy.tokenizer, config, max_tokens)
        learnt = self.engine.learn(step, batch.rows, max_tokens)
        seconds = {**drawn.seconds, "train": time.perf_counter() - started}
        if self.experts is not None and learnt["updates"]:
            self.loads.add(step, self.experts.balancer.loads())
        self.counters.steps_done = step + 1
        metrics = {**batch.metrics, **self._changing(drawn, max_tokens), **learnt, **self._spent()}
        is_last = step == config.steps - 1 or self.is_spent
        rubric = self.curriculum.rubrics.at(step)
        self.reporter.report(step, drawn, rubric, metrics, is_last=is_last)
        self.reporter.report_timing(step, drawn, rubric, seconds)
        self.context.expect_steps(self.budget.expected_steps(self.counters.flops, step + 1, config.steps))

    def finish(self) -> StageResult:
        """Save the policy and sum up."""
        counters = self.counters
        if self.config.probes:
            self._probe(counters.steps_done)
        for table in (self.rollouts, self.probes):
            table.write()
            self.context.artifact(table.path)
        if self.config.preset is not None:
            self.context.artifact(self.context.directory / DEVIATIONS_FILE)
        directory = self.context.directory / "policy"
        self.policy.save(directory)
        ending = self.budget.summary(counters.flops, counters.steps_done, self.config.steps)
        if ending:
            self.context.say(ending)
        metrics = {**_means(counters.recent), **self._spent(), "steps": float(counters.steps_done)}
        return StageResult(policy=directory, metrics=metrics)

    def _draw(self, step: int) -> Drawn:
        """A step's completions, with those of the prompts that are asked because others taught nothing."""
        drawn = self._ask(step, 0, self.config.prompts_per_step)
        for attempt in range(1, self.config.dynamic_sampling + 1):
            missing = self.config.prompts_per_step - count_teaching(drawn.rollouts, drawn.scores, self.config)
            if missing <= 0:
                break
            drawn = drawn.with_more(self._ask(step, attempt, missing))
        return drawn

    def _ask(self, step: int, attempt: int, prompts: int) -> Drawn:
        examples = self.curriculum.problems.at(step).take(self.counters.prompts_asked, prompts)
        self.counters.prompts_asked += prompts
        parts = (step, attempt) if attempt else (step,)
        seed = derive_seed(self.context.seed, "rollout", *parts)
        key = "-".join(["step", *map(str, parts)])
        drawn = self._drawer(step).draw(key, examples, self.config.group_size, seed)
        self._count_sampling(examples, drawn)
        return drawn

    def _count_sampling(self, examples: Sequence[Example], drawn: Drawn) -> None:
        """Add the operations for what was read and generated: a prompt once for its group, and every token drawn."""
        tokens = sum(len(encode_prompt(self.policy.tokenizer, example.prompt)) for example in examples)
        tokens += sum(len(rollout.completion.token_ids) for rollout in drawn.rollouts)
        self.counters.flops += FORWARD * active_parameters(self.policy.model) * tokens

    def _changing(self, drawn: Drawn, max_tokens: int) -> dict[str, float]:
        """What differs from step to step only under some options."""
        prompts = len(drawn.rollouts) // self.config.group_size
        resampled = {"resampled_prompts": float(prompts - self.config.prompts_per_step)}
        limit = {"length_limit": float(max_tokens)}
        return (resampled if self.config.dynamic_sampling else {}) | (limit if self.config.length_limits else {})

    def _spent(self) -> dict[str, float]:
        return {"flops": float(self.counters.flops), **self.budget.share(self.counters.flops)}

    def _drawer(self, step: int) -> Drawer:
        curriculum = self.curriculum
        return Drawer(self.policy, curriculum.samplers.at(step), curriculum.rubrics.at(step), self.journal)

    def _probe(self, step: int) -> None:
        examples = self.curriculum.problems.values[0].probes(self.config.probes)
        drawn = self._drawer(step).draw(f"probe-{step}", examples, 1, derive_seed(self.context.seed, "probe"))
        self.probes.add(step, rows_of(drawn, range(len(drawn.rollouts))))

    def _make_engine(self) -> Engine:
        config, context = self.config, self.context
        loss = context.loss(config.loss)
        return Engine(
            policy=self.policy,
            optimizer=optimizer_of(self.policy, config.learning_rate, config.betas, config.weight_decay),
            loss=loss,
            reference=make_reference(self.policy, config, context.policy) if needs_reference(loss) else None,
            config=config,
            counters=Counters(),
            seed=context.seed,
            temperature=self.curriculum.temperature,
            keep_batch=self._keep_batch,
            experts=self.experts,
        )

    def _keep_batch(self, rows: Sequence[Row], max_tokens: int) -> None:
        """Keep an update that is not finite, to be looked at with `python -m ponder_grpo.replay`."""
        directory = self.context.directory / f"not_finite_{self.counters.steps_done:06d}"
        keep_update(directory, self.policy, rows, max_tokens, self.curriculum.temperature)
        self.context.say(
            f"step {self.counters.steps_done}: the loss or its gradient is not finite, and the update is skipped; to see which "
            f"completion it is: python -m ponder_grpo.replay {directory}"
        )

    def _training_state(self) -> TrainingState:
        reference = self.engine.reference
        extra = {"reference": reference.frozen.model} if reference is not None and reference.changes else {}
        return TrainingState(self.policy, self.engine.optimizer, extra)


def _means(recent: list[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for metrics in recent for name in metrics)
    columns = {name: [metrics[name] for metrics in recent if name in metrics] for name in names}
    return {name: math.fsum(values) / len(values) for name, values in columns.items()}
