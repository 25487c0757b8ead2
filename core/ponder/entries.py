"""The entries of a recipe, once it has been checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ponder.components import Component, Kind

SECTIONS: Final[dict[Kind, str]] = {
    "policy": "policies",
    "task": "tasks",
    "reward": "rewards",
    "sampler": "samplers",
    "loss": "losses",
    "stage": "stages",
}
"""The section of a recipe for each kind that has entries."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An option of an entry that names another entry."""

    kind: Kind
    """Where the named entry stands: "stage" for an earlier stage, whatever the option takes from it."""
    name: str
    option: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A named use of a component: its checked options, and what they refer to."""

    kind: Kind
    name: str
    type: str
    """The component's name."""
    component: Component[Any]
    config: Any
    """An instance of the component's config dataclass: names for references, absolute paths for files."""
    options: Mapping[str, Any]
    """The same as plain data with paths as written: what a fingerprint may depend on."""
    references: tuple[Reference, ...] = ()
    files: tuple[Path, ...] = ()
    """Input files and directories, absolute."""
