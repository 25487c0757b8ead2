"""The stage `extend_context`."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from ponder import Policy, StageResult
from ponder.context import StageContext
from ponder.durable import write_json
from ponder.errors import InputError
from ponder.hf import FORWARD_AND_BACKWARD
from ponder.hf_pretraining import TokenBatch
from ponder.randomness import derive_seed
from ponder_pretraining import ExtendContextConfig, Phase
from ponder_pretraining.long_context import Measurement, Probe, mean, probed_lengths
from ponder_pretraining.packing import running_rows
from ponder_pretraining.training import Training, batches, documents_of, next_batch
from ponder_pretraining.yarn import Yarn, apply_yarn, original_length


class ExtendContext:
    """Trains a policy on ever longer sequences, its positions scaled by YaRN; see `ExtendContextConfig`."""

    def __init__(self, config: ExtendContextConfig) -> None:
        self._config = config

    def run(self, context: StageContext) -> StageResult:
        """Measure, train phase by phase, measure again, and save the policy with its new length.

        Writes `context.json`: perplexity by position and needles found, before and after.

        Raises:
            InputError: the policy's positions cannot be scaled to these lengths, or a task has no documents.
            StageError: the loss or the gradient was not finite for `max_skipped` steps in a row.
        """
        config = self._config
        policy = context.policy(config.policy)
        original = original_length(policy.model, config.original_length)
        scalings = [_scaling(phase, original, config) for phase in config.phases]
        probe = _probe(context, policy, config, original)
        before = probe.measure(policy.model, policy.tokenizer)
        training = Training(config, policy, config.learning_rate)
        policy.model.train()
        self._train(context, policy, training, scalings)
        policy.model.eval()
        # What is left to do after an interruption may be nothing at all.
        apply_yarn(policy.model, scalings[-1])
        after = probe.measure(policy.model, policy.tokenizer)
        policy.save(context.directory / "policy")
        write_json(context.directory / "context.json", _record(policy, probe, scalings[-1], before, after))
        context.artifact(context.directory / "context.json")
        metrics = {
            "loss": training.recent_loss,
            "flops": float(FORWARD_AND_BACKWARD * training.objective.active_parameters() * config.read),
            "context_length": float(scalings[-1].length),
            **_summary(probe, original, before, "_before"),
            **_summary(probe, original, after),
        }
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        return StageResult(policy=context.directory / "policy", metrics=finite)

    def _train(self, context: StageContext, policy: Policy, training: Training, scalings: Sequence[Yarn]) -> None:
        config = self._config
        places = list(_places(config.phases))
        stream: Iterator[TokenBatch] = iter(())
        current, done = -1, 0
        for step in context.steps(
            config.steps, training.state, checkpoint_every=config.checkpoint_every, description="extend context"
        ):
            place = places[step]
            phase = config.phases[place.phase]
            if place.phase != current:
                current, done = place.phase, 0
                apply_yarn(policy.model, scalings[current])
                seed = derive_seed(context.seed, "phase", current)
                documents = partial(documents_of, context.task(config.task), policy.tokenizer)
                stream = batches(policy.tokenizer, documents, running_rows, phase.length, phase.batch, seed)
            batch = next_batch(stream, place.step - done, config.task)
            done = place.step + 1
            started = time.perf_counter()
            metrics = training.step(batch, step, config.learning_rate, step / config.steps)
            context.log({"length": float(phase.length), **metrics}, step)
            context.timing({"tokens_per_second": batch.predicted / (time.perf_counter() - started)}, step)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a step of the stage lies."""

    phase: int
    step: int


def _places(phases: Sequence[Phase]) -> Iterator[_Place]:
    return (_Place(number, step) for number, phase in enumerate(phases) for step in range(phase.steps))


def _scaling(phase: Phase, original: int, config: ExtendContextConfig) -> Yarn:
    if phase.length <= original:
        raise InputError(
            f"a phase of length {phase.length} does not extend the policy's context of {original} tokens: lengthen it, or give "
            "original_length, if the policy was trained on shorter sequences than its configuration allows"
        )
    if original <= 2 * math.pi * config.alpha:
        raise InputError(
            f"no dimension turns alpha ({config.alpha:g}) times within an original_length of {original} tokens: YaRN has nothing "
            "to go by; pretrain on longer sequences first"
        )
    yarn = Yarn(phase.factor or phase.length / original, original, config.alpha, config.beta, config.mscale)
    if yarn.length < phase.length:
        raise InputError(
            f"a factor of {yarn.factor:g} scales the policy's context of {original} tokens to {yarn.length}, not to the phase's length "
            f"of {phase.length}: give a factor of at least {phase.length / original:g}, or none"
        )
    return yarn


def _probe(context: StageContext, policy: Policy, config: ExtendContextConfig, original: int) -> Probe:
    task, longest = config.probe_task or config.task, config.phases[-1].length
    seed = derive_seed(context.seed, "probe")
    documents = partial(documents_of, context.task(task), policy.tokenizer)
    stream = batches(policy.tokenizer, documents, running_rows, longest, 1, seed)
    rows = [next_batch(stream, 0, task) for _ in range(config.probe_rows)]
    depths = [place / max(1, config.needle_depths - 1) for place in range(config.needle_depths)]
    lengths = probed_lengths(original, longest)
    return Probe(rows, max(1, original // 2), lengths, depths, config.needle_samples, seed)


def _record(policy: Policy, probe: Probe, scaling: Yarn, before: Measurement, after: Measurement) -> dict[str, Any]:
    """What `context.json` holds; `perplexity` has a value for each stretch of `width` positions, null where nothing is predicted."""
    return {
        "original_length": scaling.original_length,
        "length": scaling.length,
        "rope_parameters": dict(policy.model.config.rope_parameters),
        "width": probe.width,
        "lengths": list(probe.lengths),
        "depths": list(probe.depths),
        "before": asdict(before),
        "after": asdict(after),
    }


def _summary(probe: Probe, original: int, measured: Measurement, suffix: str = "") -> dict[str, float]:
    """Mean perplexity of the stretches within the original length and beyond it, and the share of needles found."""
    within = max(1, original // probe.width)
    return {
        f"perplexity_within{suffix}": mean(measured.perplexity[:within]),
        f"perplexity_beyond{suffix}": mean(measured.perplexity[within:]),
        f"needles_found{suffix}": mean(list(itertools.chain.from_iterable(measured.needles))),
    }
