"""Components that stand in for those a stage needs: a small policy, a few problems, a reward, a sampler."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ponder.components import Component, RewardConfig, lazy
from ponder.hookspecs import hookimpl
from ponder.types import Completion, Example

NAME = "stand_in"


@dataclass(frozen=True, kw_only=True)
class StandInPolicyConfig:
    """A Llama of some ten thousand parameters, made in code."""


@dataclass(frozen=True, kw_only=True)
class StandInTaskConfig:
    """Sums, with an answer, a good and a bad response, a label and how hard they are."""

    size: int = 12
    """How many."""


class StandInTask:
    """See `StandInTaskConfig`."""

    def __init__(self, config: StandInTaskConfig) -> None:
        self._size = config.size

    def examples(self) -> Iterator[Example]:
        """The sums."""
        for n in range(self._size):
            question, answer = f"What is {n} + {2 * n + 1}?", str(3 * n + 1)
            response = f"<think>{n} + {2 * n + 1} = {answer}</think> <answer>{answer}</answer>"
            other = f"<think>I do not know.</think> <answer>{n}</answer>"
            metadata = {
                "response": response,
                "chosen": response,
                "rejected": other,
                "label": 1,
                "difficulty": 1 + n % 2,
            }
            yield Example([{"role": "user", "content": question}], answer, metadata)


@dataclass(frozen=True, kw_only=True)
class StandInRewardConfig(RewardConfig):
    """1 for about every other completion and 0 for the rest, whatever they say."""


class StandInReward:
    """See `StandInRewardConfig`."""

    def __init__(self, config: StandInRewardConfig) -> None:
        """Nothing is configured."""

    def __call__(self, example: Example, completion: Completion) -> float | None:
        return float(sum(map(ord, completion.text)) % 2)


@dataclass(frozen=True, kw_only=True)
class StandInSamplerConfig:
    """Draws token by token, one completion after the other."""

    temperature: float = 1.0
    """What logits are divided by."""
    max_new_tokens: int = 16
    """Longest completion."""


class StandInSampler:
    """See `StandInSamplerConfig`."""

    def __init__(self, config: StandInSamplerConfig) -> None:
        self.temperature = config.temperature
        self.max_new_tokens = config.max_new_tokens

    def sample(self, policy: Any, examples: Sequence[Example], n: int, seed: int) -> list[list[Completion]]:
        """Draw; see `ponder.Sampler`."""
        from ponder.testing.hf_stand_ins import draw

        return [
            [draw(policy, example, (seed, place, sample), self.temperature, self.max_new_tokens) for sample in range(n)]
            for place, example in enumerate(examples)
        ]


@hookimpl
def ponder_policies() -> Iterator[Component[Any]]:
    """The stand-in for a policy."""
    yield Component(NAME, StandInPolicyConfig, lazy("ponder.testing.hf_stand_ins:StandInPolicy"))


@hookimpl
def ponder_tasks() -> Iterator[Component[Any]]:
    """The stand-in for a task."""
    yield Component(NAME, StandInTaskConfig, StandInTask)


@hookimpl
def ponder_rewards() -> Iterator[Component[Any]]:
    """The stand-in for a reward."""
    yield Component(NAME, StandInRewardConfig, StandInReward)


@hookimpl
def ponder_samplers() -> Iterator[Component[Any]]:
    """The stand-in for a sampler."""
    yield Component(NAME, StandInSamplerConfig, StandInSampler)
