"""Small components of every kind, for tests of recipes: nothing here computes anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from ponder import EARLIER, Component, RewardConfig, hookimpl, passthrough, ref, refs


class Colour(Enum):
    RED = 1
    BLUE = 2


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters."""

    r: int = 16
    """Rank."""
    alpha: float = 32.0
    """Scale."""
    init: Literal["gaussian", "zero"] = "zero"
    """How the second factor starts."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A toy policy."""

    preset: Literal["tiny", "mini"] = "tiny"
    """Size."""
    lora: LoraConfig | None = None
    """Adapters; None trains everything."""


@dataclass(frozen=True, kw_only=True)
class FileTaskConfig:
    """Problems from a file."""

    path: Path
    """The file."""
    more: list[Path] = field(default_factory=list)
    """Further files."""


@dataclass(frozen=True, kw_only=True)
class NumbersTaskConfig:
    """Problems made up."""

    size: int = 4
    """How many."""
    weights: dict[str, float] = field(default_factory=dict)
    """Share of each kind."""
    lengths: list[int] = field(default_factory=lambda: [2, 3])
    """Terms."""
    betas: tuple[float, float] = (0.9, 0.95)
    """A pair."""
    label: str | None = None
    """A text, or none."""
    colour: Colour = Colour.RED
    """One of an enumeration."""
    parts: list[LoraConfig] = field(default_factory=list)
    """Records in a list."""
    shuffle: bool = False
    """Whether the order is shuffled."""
    api_key: int = 0
    """Sounds like a secret."""


@dataclass(frozen=True, kw_only=True)
class MarkConfig(RewardConfig):
    """A toy reward."""

    full: float = 1.0
    """The highest mark."""


@dataclass(frozen=True, kw_only=True)
class JudgeConfig(RewardConfig):
    """A reward that asks a policy."""

    judge: str = ref("policy")
    """Who judges."""


@dataclass(frozen=True, kw_only=True)
class MirrorConfig:
    """A task that wraps a task; by default one of its own type, which has no end."""

    source: str = ref("task", default="mirror")
    """What it wraps."""


@dataclass(frozen=True, kw_only=True)
class DrawConfig:
    """A toy sampler."""

    temperature: float = 1.0
    """What logits are divided by."""
    top_p: float = 1.0
    """Nucleus."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A toy stage that trains."""

    policy: str = ref("policy")
    """What it trains."""
    task: str = ref("task")
    """On what."""
    rewards: list[str] = refs("reward", default=["mark"])
    """By which marks."""
    sampler: str = ref("sampler", default={"type": "draw", "temperature": 0.6})
    """With which completions."""
    reference: str | None = ref("policy", default=None)
    """What it stays near to."""
    group_size: int = 8
    """Completions per problem."""
    rate: float = 1e-3
    """Learning rate."""
    trainer: dict[str, Any] = passthrough(
        "foreign_library:TrainerOptions", owned=["output_dir"], types={"warmup": int | Literal["linear"]}
    )
    """Whatever else the trainer takes."""

    def __post_init__(self) -> None:
        if self.group_size < 2:
            raise ValueError("group_size must be at least 2")
        if self.trainer.get("steps") == 0:
            raise ValueError("trainer.steps: must be at least 1, not 0")


@dataclass(frozen=True, kw_only=True)
class TellConfig:
    """A toy stage that tells about others."""

    stages: list[str] = refs("stage", default=EARLIER)
    """About which."""


@dataclass(frozen=True, kw_only=True)
class NoteConfig:
    """A toy tracker."""

    uri: str = "memory"
    """Where to."""


def build(config: object) -> object:
    return config


@hookimpl
def ponder_policies() -> Iterator[Component[Any]]:
    yield Component("model", ModelConfig, build)


@hookimpl
def ponder_tasks() -> Iterator[Component[Any]]:
    yield Component("file", FileTaskConfig, build)
    yield Component("numbers", NumbersTaskConfig, build)
    yield Component("mirror", MirrorConfig, build)


@hookimpl
def ponder_rewards() -> Iterator[Component[Any]]:
    yield Component("mark", MarkConfig, build)
    yield Component("judge", JudgeConfig, build)


@hookimpl
def ponder_samplers() -> Iterator[Component[Any]]:
    yield Component("draw", DrawConfig, build)


@hookimpl
def ponder_stages() -> Iterator[Component[Any]]:
    yield Component("train", TrainConfig, build)
    yield Component("tell", TellConfig, build)


@hookimpl
def ponder_trackers() -> Iterator[Component[Any]]:
    yield Component("note", NoteConfig, build)
