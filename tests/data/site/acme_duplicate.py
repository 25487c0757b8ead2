"""Claims the name of another distribution's reward."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ponder import Component, RewardConfig, hookimpl


@dataclass(frozen=True, kw_only=True)
class OtherConfig(RewardConfig):
    """Another reward of the same name."""


@hookimpl
def ponder_rewards() -> Iterator[Component[Any]]:
    yield Component("acme_short", OtherConfig, OtherConfig)
    yield Component("acme_other", OtherConfig, OtherConfig)
