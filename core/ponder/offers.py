"""What one plugin offers, checked: its hooks are known, its records are Components, its options are frozen dataclasses."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Iterable
from typing import Any, Final

import pluggy

from ponder.components import Component, Kind, RewardConfig
from ponder.suggestions import did_you_mean

HOOKS: Final[dict[Kind, str]] = {
    "policy": "ponder_policies",
    "task": "ponder_tasks",
    "reward": "ponder_rewards",
    "sampler": "ponder_samplers",
    "loss": "ponder_losses",
    "stage": "ponder_stages",
    "tracker": "ponder_trackers",
}
"""The hook through which components of a kind are offered, in the order of a recipe's sections."""

NAME: Final = re.compile(r"[a-z0-9_][a-z0-9_.-]*")
"""Names of components, entries and recipes: safe as names of directories."""


class PluginError(Exception):
    """A plugin breaks the interface; the text says how."""


def collect(manager: pluggy.PluginManager, plugin: object, name: str) -> list[tuple[Kind, Component[Any]]]:
    """The checked components of one plugin. `manager` is a throw-away that knows the hooks and no plugin yet."""
    known = [caller for caller in dir(manager.hook) if caller.startswith("ponder_")]
    _check_markers(plugin, known)
    try:
        manager.register(plugin, name)
    except pluggy.PluginValidationError as error:
        # Its first line says which plugin and hook, which every text on a broken plugin says already.
        raise PluginError("; ".join(str(error).splitlines()[1:])) from error
    callers = manager.get_hookcallers(plugin) or []
    if not callers:
        raise PluginError("implements no hook; write @hookimpl above a function such as ponder_rewards")
    for caller in callers:
        if not caller.has_spec():
            raise PluginError(f"there is no hook '{caller.name}'; {did_you_mean(caller.name, known)}")
    found = [(kind, component) for kind, hook in HOOKS.items() for component in _yielded(manager, kind, hook)]
    _check_unique(found)
    return found


def _check_markers(plugin: object, known: Iterable[str]) -> None:
    for name in known:
        function = getattr(plugin, name, None)
        if inspect.isroutine(function) and not hasattr(function, "ponder_impl"):
            raise PluginError(f"'{name}' is not marked as a hook; put @hookimpl above it")


def _yielded(manager: pluggy.PluginManager, kind: Kind, hook: str) -> Iterable[Component[Any]]:
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        offered = implementation.function()
        if offered is None:
            raise PluginError(f"{hook} returns None; `yield Component(...)` in it, or return a list of components")
        for component in offered:
            check_component(kind, component)
            yield component


def check_component(kind: Kind, component: object) -> None:
    """Raise PluginError when a hook for `kind` must not yield this."""
    if not isinstance(component, Component):
        raise PluginError(f"{HOOKS[kind]} yields {type(component).__name__}, not Component")
    if not isinstance(component.name, str) or not NAME.fullmatch(component.name):
        raise PluginError(
            f"{HOOKS[kind]} yields a component named {component.name!r}; names are lower-case letters, digits, '_', '.' and '-'"
        )
    if not callable(component.build):
        raise PluginError(f"{kind} '{component.name}': build is {type(component.build).__name__}, not callable")
    _check_config(kind, component)


def _check_config(kind: Kind, component: Component[Any]) -> None:
    config: Any = component.config
    where = f"{kind} '{component.name}': config {getattr(config, '__name__', repr(config))}"
    # What it inherits from a dataclass does not make options of the fields that it adds.
    if not isinstance(config, type) or "__dataclass_params__" not in vars(config):
        raise PluginError(f"{where} is not a dataclass; write @dataclass(frozen=True, kw_only=True) above it")
    if not config.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise PluginError(f"{where} is not frozen; write @dataclass(frozen=True, kw_only=True) above it")
    positional = [field.name for field in dataclasses.fields(config) if field.init and not field.kw_only]
    if positional:
        raise PluginError(f"{where} is not keyword-only ({positional[0]}); write @dataclass(frozen=True, kw_only=True)")
    if any(field.name == "type" for field in dataclasses.fields(config)):
        raise PluginError(f"{where} has an option named 'type', which is the component's own key in recipes; rename it")
    if kind == "reward" and not issubclass(config, RewardConfig):
        raise PluginError(f"{where} does not extend RewardConfig, which carries the weight")
    try:
        typing.get_type_hints(config)
    except Exception as error:
        raise PluginError(f"{where} has an annotation that cannot be evaluated: {error}") from error


def _check_unique(found: Iterable[tuple[Kind, Component[Any]]]) -> None:
    seen: set[tuple[Kind, str]] = set()
    for kind, component in found:
        if (kind, component.name) in seen:
            raise PluginError(f"{kind} '{component.name}' is offered twice by the same plugin")
        seen.add((kind, component.name))
