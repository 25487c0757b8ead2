"""What papers say of models that are known by their exact number of parameters: sizes, compute and cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a published training run."""

    name: str
    gpu_hours: float
    """H800 hours, as published."""
    cost: str
    """Dollars, as published."""
    tokens: float | None = None
    hours_per_token: float | None = None
    """The published throughput, in H800 hours for each token; None where only the hours are published."""

    @property
    def hours_by_throughput(self) -> float:
        """H800 hours from the tokens and the throughput; the published hours where no throughput is published."""
        if self.tokens is None or self.hours_per_token is None:
            return self.gpu_hours
        return self.tokens * self.hours_per_token


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """What a published training run took."""

    title: str
    source: str
    price: float
    """Dollars for an H800 hour, as the paper assumes."""
    phases: tuple[Phase, ...]
    gpu_hours: str
    """The published sum."""
    cost: str
    """The published sum, in dollars."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What is published about a model; empty texts where nothing is."""

    model: str
    parameters: str
    active: str
    note: str = ""
    cache: str = ""
    """Bytes or numbers that are kept of each token."""
    training: str = ""
    """Floating-point operations to train on a token of a sequence of 4,096."""
    runs: tuple[TrainingRun, ...] = ()


COMPARED_LENGTH: Final = 4096
"""The sequence, in tokens, that published operations for a token are of."""

_TRILLION: Final = 1e12
_CONVENTION: Final = "the output head counts as active, the input embedding does not"

_V3 = TrainingRun(
    "DeepSeek-V3",
    "DeepSeek-V3, table 1",
    2.0,
    (
        Phase("pre-training", 2_664_000, "$5.328M", 14.8 * _TRILLION, 180_000 / _TRILLION),
        Phase("context extension", 119_000, "$0.238M", 2 * 1000 * 62_914_560),
        Phase("post-training", 5_000, "$0.01M"),
    ),
    "2,788K",
    "$5.576M",
)
_R1 = TrainingRun(
    "DeepSeek-R1, from DeepSeek-V3-Base",
    "DeepSeek-R1, table 7",
    2.0,
    (
        Phase("R1-Zero", 101_000, "$202K"),
        Phase("SFT data", 5_000, "$10K"),
        Phase("R1", 41_000, "$82K"),
    ),
    "147K",
    "$294K",
)

PUBLICATIONS: Final[Mapping[int, Publication]] = {
    671_026_404_352: Publication(
        model="DeepSeek-V3",
        parameters="671B",
        active="37B",
        note=f"{_CONVENTION}; 37B also rounds 37,552,282,624 with both, and README_WEIGHTS' 36.7B is reached by no count",
        cache="70.272 KB",
        training="250 GFLOP",
        runs=(_V3, _R1),
    ),
    235_741_434_880: Publication(
        model="DeepSeek-V2",
        parameters="236B",
        active="21B",
        note=_CONVENTION,
        cache="34.6K values",
        training="155 GFLOP",
    ),
    15_706_484_224: Publication(
        model="DeepSeek-V2-Lite", parameters="15.7B", active="2.4B", note=_CONVENTION, cache="15.6K values"
    ),
}
"""By the number of parameters, multi-token prediction and routing biases not counted.

Sources: DeepSeek-V3 (2412.19437), DeepSeek-V2 (2405.04434), DeepSeek-R1 (2501.12948), Insights into DeepSeek-V3 (2505.09343).
"""
