"""How a plugin describes what it offers: a name, typed options, and a way to build it."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from typing import Any, ClassVar, Final, Generic, Literal, TypeAlias, TypeVar

T = TypeVar("T")

Kind: TypeAlias = Literal["policy", "task", "reward", "sampler", "loss", "stage", "tracker"]

EARLIER: Final = "*"
"""As the default of `refs("stage")`: every stage that stands before this one."""


@dataclass(frozen=True, slots=True)
class Component(Generic[T]):
    """A name for recipes, the dataclass that types its options, and how to build it.

    `build` is called with the options and, by keyword, whatever else its signature asks for of what the kind offers
    (see the hook's text): a policy may take `checkpoint`, a tracker `runs`.
    """

    name: str
    config: type
    build: Callable[..., T]

    def make(self, config: object, **offered: object) -> T:
        """Build from checked options, passing on what `build` asks for and no more."""
        wanted = self.parameters()
        return self.resolved()(config, **{name: value for name, value in offered.items() if name in wanted})

    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """What `build` takes, by name, the options first."""
        return inspect.signature(self.resolved()).parameters

    def resolved(self) -> Callable[..., T]:
        """What `build` calls, imported if it is lazy."""
        return self.build.load() if isinstance(self.build, _Lazy) else self.build


@dataclass(frozen=True, slots=True)
class _Lazy:
    target: str

    def load(self) -> Callable[..., Any]:
        module, _, name = self.target.partition(":")
        return getattr(importlib.import_module(module), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.load()(*args, **kwargs)


def lazy(target: str) -> Callable[..., Any]:
    """A callable that imports "package.module:Name" when it is first used, so that a plugin's entry module stays light."""
    if target.count(":") != 1:
        raise ValueError(f"lazy() takes 'package.module:Name', not {target!r}")
    return _Lazy(target)


def ref(kind: Kind, *, default: str | Mapping[str, object] | Any | None = MISSING) -> Any:
    """An option that names another entry of the recipe.

    The default may be None, the name of an installed component (built with its own defaults), or a mapping with a `type`
    and options. A recipe, too, may give either in place of the name of an entry.
    """
    return _reference(kind, many=False, default=default)


def refs(kind: Kind, *, default: Sequence[str | Mapping[str, object]] | str | Any = MISSING) -> Any:
    """An option that names several entries of the recipe; see `ref`."""
    return _reference(kind, many=True, default=default)


def _reference(kind: Kind, *, many: bool, default: Any) -> Any:
    metadata = {"ref": kind, "many": many, "default": default}
    if default is MISSING:
        return field(metadata=metadata)
    # The recipe loader replaces the default by names; the placeholder only makes the field optional.
    return field(default_factory=list, metadata=metadata) if many else field(default=None, metadata=metadata)


def passthrough(target: str, *, owned: Sequence[str] = (), types: Mapping[str, Any] | None = None) -> Any:
    """A `dict[str, Any]` option whose keys and values are checked against another library's dataclass "package.module:Name".

    `owned` names the keys that the component sets itself and refuses here; `types` are those of keys whose annotation in the
    dataclass does not tell what may be given.
    """
    return field(default_factory=dict, metadata={"passthrough": target, "owned": tuple(owned), "types": types or {}})


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """What every reward's options carry."""

    weight: float = 1.0
    """What the score is multiplied by in the sum."""

    tasks: list[str] = field(default_factory=list)
    """Score only the examples of these parts of a `mixture`, and abstain on all others; empty scores everything."""

    confinement: Literal["any", "limits", "system_calls", "files"] = "any"
    """What the processes that score must at least be denied, or the run is refused; it is always as much as the machine can.
    `limits`: memory and processor time; `system_calls`: also network, new processes and writing; `files`: also most reading."""

    needs_answer: ClassVar[bool] = False
    """Whether the reward compares with `Example.answer`, and so asks for a task that has answers."""
