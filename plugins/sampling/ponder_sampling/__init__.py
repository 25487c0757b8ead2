"""Samplers `fast`, an in-process decoder, `generate`, on transformers' own, `vllm`, on a server, and `openai`, another model behind an endpoint."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ponder import Component, Sampler, hookimpl, lazy
from ponder.doctor import Check
from ponder_sampling.openai_options import OpenaiConfig
from ponder_sampling.sampling_options import SamplingConfig
from ponder_sampling.vllm_options import VllmConfig

if TYPE_CHECKING:
    from ponder.doctor import Patient

__all__ = ["FastConfig", "GenerateConfig", "OpenaiConfig", "SamplingConfig", "VllmConfig"]


@dataclass(frozen=True, kw_only=True)
class GenerateConfig(SamplingConfig):
    """Sample with transformers' `model.generate`, left-padded batches: slower than `fast`, works with whatever it works with."""

    batch_size: int = 64
    """Completions generated at once."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {self.batch_size}")


@dataclass(frozen=True, kw_only=True)
class FastConfig(SamplingConfig):
    """Sample in process with a key/value cache: a prompt is read once for all its completions, finished rows leave."""

    max_rows: int = 512
    """Completions decoded at once; more are done in turns. Bounds the memory of the cache."""
    speculative: bool | None = None
    """Whether the policy's modules for multi-token prediction guess ahead, so that one pass of the model may yield several tokens
    (self-speculative decoding). The text is the same: each token is drawn from the model's own distribution, by the same random
    number as without guesses. When absent: if the policy has such modules, one for at least 8 of its layers, and at most 16
    completions are decoded at once: otherwise guessing costs more than it saves."""
    record_routing: bool = False
    """Keep with each completion which experts of a mixture worked on each token, to be replayed or compared with in training
    (`router_replay` of `grpo` switches it on)."""
    record_mask: bool = False
    """Keep with each completion the tokens that top-k and top-p left to draw from (`keep_sampling_mask` of `grpo` switches it on)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.speculative and (self.record_routing or self.record_mask):
            raise ValueError("speculative drawing records neither routing nor mask: leave one of them out")
        if self.max_rows < 1:
            raise ValueError(f"max_rows must be at least 1, not {self.max_rows}")
        if self.record_mask and not self.temperature:
            raise ValueError("record_mask needs a temperature above 0: at 0 nothing is drawn")


@hookimpl
def ponder_samplers() -> Iterator[Component[Sampler]]:
    """Offer `generate`, `fast`, `vllm` and `openai`."""
    yield Component("generate", GenerateConfig, lazy("ponder_sampling.generate:GenerateSampler"))
    yield Component("fast", FastConfig, lazy("ponder_sampling.fast:FastSampler"))
    yield Component("vllm", VllmConfig, lazy("ponder_sampling.vllm:VllmSampler"))
    yield Component("openai", OpenaiConfig, lazy("ponder_sampling.openai:OpenaiSampler"))


@hookimpl
def ponder_checks() -> Iterator[Check]:
    """Offer `endpoint`."""
    yield Check(
        "endpoint",
        "Does the endpoint of a sampler answer, and serve its model?",
        _examines,
        lazy("ponder_sampling.checks:examine_endpoint"),
    )


def endpoints_of(patient: Patient) -> list[tuple[str, OpenaiConfig]]:
    """The samplers of a stage that ask an endpoint, by name."""
    samplers = patient.clinic.recipe.samplers
    return [
        (name, samplers[name].config)
        for name in patient.names("sampler")
        if isinstance(samplers[name].config, OpenaiConfig)
    ]


def _examines(patient: Patient) -> Hashable | None:
    return tuple(name for name, _ in endpoints_of(patient)) or None
