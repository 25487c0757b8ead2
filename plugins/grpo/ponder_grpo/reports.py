"""What a step says of itself: metrics, completions to read, and in words what a number would not tell everybody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ponder.metrics import statistics_of
from ponder_grpo.config import GrpoConfig
from ponder_grpo.engine import Counters
from ponder_grpo.measures import correctness, measure, per_task
from ponder_grpo.rollouts import Drawn
from ponder_grpo.tables import all_rows, sample_rows

if TYPE_CHECKING:
    from ponder.context import StageContext
    from ponder.rubric import Rubric
    from ponder.tables import Table

FINAL_STEPS = 10
"""Steps whose mean the stage's result reports."""
SILENT_STEPS = 20
"""Steps without a signal after which the user is told."""
NOTABLE_GAP = 0.05
"""Mean distance, in nats, between sampler and trainer that the user is told of."""


@dataclass(frozen=True, slots=True)
class Reporter:
    """Logs the steps of a stage."""

    config: GrpoConfig
    context: StageContext
    counters: Counters
    table: Table

    def report(self, step: int, drawn: Drawn, rubric: Rubric, learnt: Mapping[str, float], *, is_last: bool) -> None:
        """Log a step's metrics, keep some of its completions, and explain what is unusual."""
        metrics = {
            **rubric.metrics(list(drawn.scores)),
            **per_task(drawn.rollouts, drawn.scores),
            **correctness(drawn.rollouts, drawn.scores, self.config.rewards[0], self.config.group_size),
            **measure(drawn.rollouts, self.config.language),
            **learnt,
        }
        self.context.log(metrics, step)
        self.counters.recent = [*self.counters.recent, metrics][-FINAL_STEPS:]
        if step % self.config.table_every == 0 or is_last:
            keep_all = self.config.table_rows == "all"
            self.table.add(step, all_rows(drawn) if keep_all else sample_rows(drawn, self.config.group_size))
        self._explain(step, drawn, metrics)

    def report_timing(self, step: int, drawn: Drawn, rubric: Rubric, seconds: Mapping[str, float]) -> None:
        """Log what depends on the clock."""
        timing = {f"seconds/{phase}": spent for phase, spent in seconds.items()} | statistics_of(rubric)
        if drawn.seconds:
            tokens = sum(len(rollout.completion.token_ids) for rollout in drawn.rollouts)
            timing["completion_tokens_per_second"] = tokens / max(sum(seconds.values()), 1e-9)
        self.context.timing(timing, step)

    def _explain(self, step: int, drawn: Drawn, metrics: Mapping[str, float]) -> None:
        counters = self.counters
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
