"""What a step asks, how completions are drawn and by which rewards they are scored: all that may change at given steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ponder.errors import InputError
from ponder.interfaces import Sampler
from ponder.types import Example
from ponder_grpo.config import GrpoConfig
from ponder_grpo.phases import phases
from ponder_grpo.problems import Problems, check_parts, examples_at, load_examples

if TYPE_CHECKING:
    from ponder.context import StageContext
    from ponder.rubric import Rubric


class Curriculum:
    """The problems, samplers and rubrics of a stage, each with an `at(step)`."""

    def __init__(self, config: GrpoConfig, context: StageContext) -> None:
        self._config = config
        self._context = context
        self.examples = examples = load_examples(context.task(config.task), config.task, config.prompts_per_step)
        check_parts(examples, config)
        self.rubrics = phases(config.reward_from.values(), config.steps, self._rubric)
        # The last has all the rewards.
        self.rubrics.values[-1].check(examples, config.task)
        self.problems = phases(config.task_from.values(), config.steps, lambda since: self._problems(examples, since))
        limits = [limit.step for limit in config.length_limits]
        self.samplers = phases(limits, config.steps, self._sampler)
        self.temperature = temperature_of(self.samplers.values[0], config.sampler)

    def _rubric(self, since: int) -> Rubric:
        first_steps = self._config.reward_from
        return self._context.rubric([name for name in self._config.rewards if first_steps.get(name, 0) <= since])

    def _problems(self, examples: Sequence[Example], since: int) -> Problems:
        return Problems(examples_at(examples, self._config.task_from, since), self._context.seed)

    def _sampler(self, since: int) -> Sampler:
        limits = {limit.step: limit.max_new_tokens for limit in self._config.length_limits}
        changes = {"max_new_tokens": limits[since]} if since in limits else {}
        sampler = self._recording(changes)
        if self._config.truncated == "penalise":
            self._check_buffer(length_limit(sampler))
        return sampler

    def _recording(self, changes: dict[str, int]) -> Sampler:
        """The sampler, which records what training is to replay."""
        config = self._config
        switches = {"record_routing": config.router_replay, "record_mask": config.keep_sampling_mask}
        recorded = {name: True for name, is_wanted in switches.items() if is_wanted}
        try:
            return self._context.sampler(config.sampler, **changes, **recorded)
        except InputError as error:
            if not recorded:
                raise
            wanted = "router_replay" if config.router_replay else "keep_sampling_mask"
            raise InputError(f"{wanted} needs a sampler that records, such as `fast`: {error}") from error

    def _check_buffer(self, limit: int) -> None:
        if limit < self._config.overlong_buffer:
            has = f"a length limit of {limit}" if limit else "no length limit"
            raise InputError(
                f"truncated: penalise needs a length limit of at least overlong_buffer ({self._config.overlong_buffer}) "
                f"tokens, and sampler {self._config.sampler!r} has {has}"
            )


def temperature_of(sampler: Sampler, name: str) -> float:
    """The sampler's temperature, 1 when it tells none; InputError when it is not above 0."""
    temperature = float(getattr(sampler, "temperature", 1.0))
    if not (math.isfinite(temperature) and temperature > 0):
        raise InputError(
            f"sampler {name!r} has temperature {temperature:g}: grpo compares different answers, so it must be above 0"
        )
    return temperature


def length_limit(sampler: Sampler) -> int:
    """The sampler's `max_new_tokens`, its own or its options'; 0 when it has none."""
    own = getattr(sampler, "max_new_tokens", None)
    return int(own or getattr(getattr(sampler, "config", None), "max_new_tokens", None) or 0)
