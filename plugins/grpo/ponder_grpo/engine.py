"""From a step's scored completions to its optimizer updates, with nothing computed that can be known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch

from ponder.errors import StageError
from ponder.hf import FORWARD, FORWARD_AND_BACKWARD, active_parameters, clip_gradients, set_learning_rate
from ponder.interfaces import Loss, Policy
from ponder.randomness import derive_seed
from ponder_grpo.compute import tokens_passed
from ponder_grpo.config import GrpoConfig
from ponder_grpo.experts import Experts
from ponder_grpo.forward import PromptReader, reader_of
from ponder_grpo.reference import Reference, WithoutAdapters
from ponder_grpo.rows import Row
from ponder_grpo.schedule import learning_rate, minibatch_groups
from ponder_grpo.update import PassOptions, accumulate_gradients, completion_logprobs, needs_gradient


@dataclass
class Counters:
    """What a run remembers besides its weights."""

    steps_done: int = 0
    prompts_asked: int = 0
    """Where in the order of problems the next step begins."""
    flops: int = 0
    """Floating-point operations so far."""
    skipped_in_a_row: int = 0
    """Updates with a non-finite loss or gradient since the last good one."""
    silent_in_a_row: int = 0
    """Steps since the last one in which some group's scores differed."""
    recent: list[dict[str, float]] = field(default_factory=list)
    """Metrics of the last steps."""


@dataclass
class Engine:
    """Updates a policy from rows; `reference` is None when the loss needs none."""

    policy: Policy
    optimizer: torch.optim.Optimizer
    loss: Loss
    reference: Reference | WithoutAdapters | None
    config: GrpoConfig
    counters: Counters
    seed: int
    temperature: float
    keep_batch: Callable[[Sequence[Row], int], None]
    """Told the rows and the length limit of the first update of a series that is not finite, with the weights as they were."""
    experts: Experts | None = None
    """The policy's, when it is a mixture of experts."""

    def learn(self, step: int, rows: Sequence[Row], max_tokens: int) -> dict[str, float]:
        """All updates of a step; returns the mean of their metrics. Rows of a group carry the group's place in the step.

        `max_tokens` is the sampler's length limit; 0 when it has none.
        """
        # Dropout, where a model has it, must draw the same after an interruption.
        torch.manual_seed(derive_seed(self.seed, "dropout", step))
        set_learning_rate(self.optimizer, learning_rate(self.config, step))
        self.policy.model.train()
        rows = self._with_known_logprobs(step, rows)
        reports: list[dict[str, float] | None] = []
        for groups in minibatch_groups(self.config, self.seed, step):
            chosen = set(groups)
            batch = [row for row in rows if row.group in chosen]
            learnt = [row for row in batch if needs_gradient(row, self.loss)]
            if learnt:
                self._spend(FORWARD_AND_BACKWARD, learnt, self.policy)
                # Until the first update that is made, the weights are those that the sampler drew with.
                is_first = not any(reports)
                reports.append(self._update(batch, max_tokens, is_first=is_first))
        return self._summary(step, reports)

    def _with_known_logprobs(self, step: int, rows: Sequence[Row]) -> list[Row]:
        """Give rows the old and reference log-probabilities that the updates cannot get for nothing."""
        rows = list(rows)
        if self.config.importance_cap is not None and any(
            row.completion and row.sampled_logprobs is None for row in rows
        ):
            raise StageError(
                "importance_cap compares with the sampler's log-probabilities, and this sampler gives none: leave it out"
            )
        if self.config.updates_per_step > 1:
            rows = self._with_old(rows)
        if self.reference is not None:
            self.reference.prepare(step)
            if not self.reference.is_current(step):
                self._spend(FORWARD, rows, self.reference.frozen)
                # The reference is a policy of its own, which routes by itself.
                known = self.reference.logprobs([replace(row, routing=None) for row in rows], self._options)
                rows = [replace(row, reference_logprobs=known[row.index]) for row in rows]
        return rows

    def _with_old(self, rows: list[Row]) -> list[Row]:
        if self.config.importance_cap is None and all(row.sampled_logprobs is not None for row in rows):
            return [replace(row, old_logprobs=torch.tensor(row.sampled_logprobs, dtype=torch.float32)) for row in rows]
        self._spend(FORWARD, rows, self.policy)
        known = completion_logprobs(self._reader, rows, self._options)
        return [replace(row, old_logprobs=known[row.index]) for row in rows]

    def _spend(self, operations: int, rows: Sequence[Row], policy: Policy) -> None:
        """Count a pass of `operations` for each parameter and token."""
        read = [row for row in rows if row.completion]
        self.counters.flops += operations * active_parameters(policy.model) * tokens_passed(read)

    def _update(self, rows: Sequence[Row], max_tokens: int, *, is_first: bool) -> dict[str, float] | None:
        """One optimizer update; None, with the weights untouched, when the loss or the gradient is not finite."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.experts is not None:
            self.experts.take_agreement()
        metrics = accumulate_gradients(self._reader, rows, self.loss, max_tokens, self._options)
        norm = clip_gradients(self.policy.model.parameters(), self.config.max_grad_norm)
        if not (math.isfinite(metrics["loss"]) and math.isfinite(norm)):
            self._skip(rows, max_tokens)
            return None
        if is_first:
            self._check_gap(metrics.get("sampler_gap", 0.0))
        else:
            # The sampler's weights are no longer the policy's, and a gap between them means nothing.
            metrics.pop("sampler_gap", None)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.policy.version += 1
        self.counters.skipped_in_a_row = 0
        return {**metrics, "grad_norm": norm, **self._routed(is_first=is_first)}

    def _routed(self, *, is_first: bool) -> dict[str, float]:
        """Balance the experts of a mixture after an update; how they were loaded, and before any update how the sampler's agree."""
        if self.experts is None:
            return {}
        loads = self.experts.balancer.step(self.config.balance)
        return {**loads, **(self.experts.take_agreement() if is_first else {})}

    @property
    def _reader(self) -> PromptReader:
        return reader_of(self.policy, self.experts)

    def _check_gap(self, gap: float) -> None:
        if gap > self.config.max_sampler_gap:
            raise StageError(
                f"the sampler's log-probabilities are {gap:.3g} nats a token away from the trainer's (max_sampler_gap is "
                f"{self.config.max_sampler_gap:g}): the gradient would be that of another policy. Look at the sampler's temperature, "
                "precision and weights (`ponder doctor` compares them); the last checkpoint is whole"
            )

    def _skip(self, rows: Sequence[Row], max_tokens: int) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        if self.experts is not None:
            self.experts.balancer.forget()
        self.counters.skipped_in_a_row += 1
        if self.counters.skipped_in_a_row == 1:
            self.keep_batch(rows, max_tokens)
        if self.counters.skipped_in_a_row >= self.config.max_skipped:
            raise StageError(
                f"the loss or its gradient was not finite in {self.counters.skipped_in_a_row} updates in a row; none of them "
                "touched the weights, and the last checkpoint is whole. Lower learning_rate or the loss's epsilon_high, "
                "or raise max_skipped to wait longer"
            )

    def _summary(self, step: int, reports: Sequence[dict[str, float] | None]) -> dict[str, float]:
        good = [report for report in reports if report is not None]
        names = dict.fromkeys(name for report in good for name in report)
        means = {name: _mean([report[name] for report in good if name in report]) for name in names}
        counts = {"updates": float(len(good)), "skipped_updates": float(len(reports) - len(good))}
        return {**means, **counts, "learning_rate": learning_rate(self.config, step)}

    @property
    def _options(self) -> PassOptions:
        return PassOptions(self.temperature, self.config.micro_batch_tokens, self.config.importance_cap)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
