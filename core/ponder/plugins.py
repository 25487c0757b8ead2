"""The guarded registry: what the installed plugins offer, with the broken ones kept aside and named."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import pluggy

from ponder import hookspecs
from ponder.components import Component, Kind
from ponder.errors import InputError
from ponder.offers import HOOKS, PluginError, collect
from ponder.suggestions import did_you_mean

if TYPE_CHECKING:
    from packaging.requirements import Requirement

GROUP: Final = "ponder"
"""The entry-point group; the value of an entry point is a module or object with hook implementations."""

DISABLE_VARIABLE: Final = "PONDER_DISABLE_PLUGINS"
"""Comma-separated plugins to leave out: an entry point's name, its distribution's, or `distribution:name`.

As in package indexes, neither case nor which of `-`, `_` and `.` is written matters.
"""


class IncompatiblePluginError(PluginError):
    """A plugin was made for another version of ponder."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A component, and the distribution (or plain file) that brought it."""

    kind: Kind
    component: Component[Any]
    distribution: str
    version: str


@dataclass(frozen=True)
class Registry:
    """What plugins offer; `broken` holds, by plugin, the error of each that could not be used."""

    broken: dict[str, BaseException] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    """The installed plugins that were not even imported, because PONDER_DISABLE_PLUGINS names them."""
    not_installed: list[str] = field(default_factory=list)
    """A text for each name in PONDER_DISABLE_PLUGINS that no installed plugin has."""
    plugin_files: tuple[Path, ...] = ()
    _offers: dict[tuple[Kind, str], list[Offer]] = field(default_factory=dict)
    _manager: pluggy.PluginManager = field(default_factory=lambda: new_manager())

    @property
    def hook(self) -> Any:
        """Calls a hook on every sound plugin: `registry.hook.ponder_stage_started(context=context)`."""
        return self._manager.hook

    def register(self, plugin: object, name: str, *, distribution: str = "", version: str = "0") -> None:
        """Add a module or object with hook implementations; whatever is wrong with it ends up in `broken[name]`."""
        try:
            found = collect(new_manager(), plugin, name)
            self._manager.register(plugin, name)
        except (Exception, SystemExit) as error:
            self.broken[name] = error
            return
        for kind, component in found:
            offer = Offer(kind, component, distribution or name, version)
            self._offers.setdefault((kind, component.name), []).append(offer)

    def copy(self) -> Registry:
        """A registry with the same plugins, to which others can be added."""
        offers = {key: list(offers) for key, offers in self._offers.items()}
        copied = Registry(dict(self.broken), list(self.left_out), list(self.not_installed), self.plugin_files, offers)
        for name, plugin in self._manager.list_name_plugin():
            if plugin is not None:
                copied._manager.register(plugin, name)
        return copied

    @contextlib.contextmanager
    def observed(self, observer: object) -> Iterator[None]:
        """Let an object with `ponder_stage_started` or `ponder_stage_finished` watch for a while."""
        self._manager.register(observer)
        try:
            yield
        finally:
            self._manager.unregister(observer)

    def all(self) -> list[Offer]:
        """Every offer, by kind (in the order of a recipe's sections) and name."""
        kinds = list(HOOKS)
        return [
            offer
            for key in sorted(self._offers, key=lambda key: (kinds.index(key[0]), key[1]))
            for offer in self._offers[key]
        ]

    def names(self, kind: Kind) -> list[str]:
        """The names offered for a kind."""
        return sorted(name for offered, name in self._offers if offered == kind)

    def offer(self, kind: Kind, name: str) -> Offer:
        """The one offer of this name; InputError when there is none, or more than one."""
        offers = self._offers.get((kind, name), [])
        if not offers:
            raise InputError(self._nobody_offers(kind, name))
        if len(offers) > 1:
            raise InputError(_conflict(offers))
        return offers[0]

    def find(self, kind: Kind, name: str) -> Component[Any]:
        """The component of this name; see `offer`."""
        return self.offer(kind, name).component

    def distribution_of(self, kind: Kind, name: str) -> str:
        """The distribution a component comes from, with its version: "ponder-grpo 0.1.0"."""
        offer = self.offer(kind, name)
        return f"{offer.distribution} {offer.version}"

    def broken_lines(self) -> list[str]:
        """A line for each plugin that could not be used, for each left out, and for each to be left out that is not installed."""
        broken = [f"  plugin '{plugin}' {_fault(error)}" for plugin, error in self.broken.items()]
        left_out = [f"  plugin '{plugin}' is left out by {DISABLE_VARIABLE}" for plugin in self.left_out]
        return [*broken, *left_out, *(f"  {text}" for text in self.not_installed)]

    def conflicts(self) -> list[str]:
        """A text for each name that two distributions offer, which is why neither can be used."""
        return [_conflict(offers) for offers in self._offers.values() if len(offers) > 1]

    def _nobody_offers(self, kind: Kind, name: str) -> str:
        elsewhere = next((other for other in HOOKS if (other, name) in self._offers), None)
        hint = f"'{name}' is a {elsewhere}" if elsewhere else did_you_mean(name, self.names(kind))
        text = f"no {kind} '{name}' is installed; {hint}"
        return "\n".join([text, *self.broken_lines()])


def load_registry(plugin_files: Iterable[str | Path] = (), disabled: Iterable[str] | None = None) -> Registry:
    """Everything the entry points of group `ponder` and the plain files offer.

    `disabled` names plugins to leave out; None reads PONDER_DISABLE_PLUGINS. A file that does not exist is an InputError,
    one that fails to import is a broken plugin.
    """
    left_out = _disabled_by_environment() if disabled is None else set(disabled)
    files = tuple(_existing(Path(file)) for file in plugin_files)
    entry_points = _entry_points()
    registry = Registry(not_installed=_unknown(left_out, entry_points), plugin_files=files)
    unwanted = set(map(normal_name, left_out))
    # What a plugin prints while it is imported must not end up in a script's JSON.
    with contextlib.redirect_stdout(sys.stderr):
        for entry_point in entry_points:
            _register_entry_point(registry, entry_point, unwanted)
        for file in files:
            _register_file(registry, file)
    return registry


def load_plugin_file(path: Path) -> ModuleType:
    """The module of a plain plugin file, under a name that is the same in every process, so that its objects pickle."""
    resolved = path.resolve()
    digest = hashlib.sha256(str(resolved).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    name = f"ponder_file_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, resolved)
    if spec is None or spec.loader is None:
        raise InputError(f"--plugin {path}: not a Python file; give a file whose name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def new_manager() -> pluggy.PluginManager:
    """A plugin manager that knows the hooks, with no plugin in it."""
    manager = pluggy.PluginManager("ponder")
    manager.add_hookspecs(hookspecs)
    return manager


def normal_name(name: str) -> str:
    """A plugin's name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def error_line(error: BaseException) -> str:
    """An error as one line: its type, and the first line of what it says."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def error_place(error: BaseException) -> str:
    """Where an error was raised, as `file.py:12`; empty when it has no place, or one in ponder or the import system."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith("<") and Path(file).parent != Path(__file__).parent:
            place = f"{file}:{trace.tb_lineno}"
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    return "" if "/importlib/" in place or "/pluggy/" in place else place


def requirement_on_core(distribution: importlib.metadata.Distribution) -> Requirement | None:
    """What a distribution's metadata says about the version of `ponder`; None when it says nothing."""
    from packaging.requirements import InvalidRequirement, Requirement

    for text in distribution.requires or ():
        # Most of a plugin's requirements are on others; parsing them all would cost every command milliseconds.
        if text.startswith("ponder"):
            try:
                requirement = Requirement(text)
            except InvalidRequirement as error:
                raise PluginError(f"its metadata has a requirement that cannot be read: {error}") from error
            if requirement.name == "ponder" and (requirement.marker is None or requirement.marker.evaluate()):
                return requirement
    return None


def check_compatible(distribution: importlib.metadata.Distribution) -> None:
    """Raise IncompatiblePluginError when the distribution was made for other versions of ponder than the one that runs."""
    needed = requirement_on_core(distribution)
    try:
        core = importlib.metadata.version("ponder")
    except importlib.metadata.PackageNotFoundError:
        return
    if needed is not None and not needed.specifier.contains(core, prereleases=True):
        raise IncompatiblePluginError(
            f"{distribution.name} {distribution.version} needs ponder{needed.specifier}, and this is ponder {core}: install "
            f'a version of it that fits (pip install --upgrade {distribution.name}), or that ponder (pip install "{needed}")'
        )


def _fault(error: BaseException) -> str:
    if isinstance(error, IncompatiblePluginError):
        return f"is incompatible: {error}"
    place = error_place(error)
    return f"failed to load: {error_line(error)}{f' ({place})' if place else ''}"


def _disabled_by_environment() -> set[str]:
    return {name.strip() for name in os.environ.get(DISABLE_VARIABLE, "").split(",") if name.strip()}


def _unknown(left_out: Iterable[str], entry_points: Sequence[importlib.metadata.EntryPoint]) -> list[str]:
    known = {name for entry_point in entry_points for name in _names_of(entry_point)}
    normal = set(map(normal_name, known))
    return [
        f"{DISABLE_VARIABLE} names '{name}', which is not installed; {did_you_mean(name, known)}"
        for name in sorted(left_out)
        if normal_name(name) not in normal
    ]


def _entry_points() -> Sequence[importlib.metadata.EntryPoint]:
    found = importlib.metadata.entry_points(group=GROUP)
    return sorted(found, key=lambda entry_point: (_distribution(entry_point), entry_point.name))


def _distribution(entry_point: importlib.metadata.EntryPoint) -> str:
    return entry_point.dist.name if entry_point.dist is not None else entry_point.module


def _names_of(entry_point: importlib.metadata.EntryPoint) -> tuple[str, str, str]:
    """What a plugin may be called in PONDER_DISABLE_PLUGINS; the last one names it everywhere else."""
    distribution = _distribution(entry_point)
    return entry_point.name, distribution, f"{distribution}:{entry_point.name}"


def _register_entry_point(registry: Registry, entry_point: importlib.metadata.EntryPoint, unwanted: set[str]) -> None:
    _, distribution, name = _names_of(entry_point)
    if unwanted & set(map(normal_name, _names_of(entry_point))):
        registry.left_out.append(name)
        return
    try:
        if entry_point.dist is not None:
            check_compatible(entry_point.dist)
        plugin = entry_point.load()
    except (Exception, SystemExit) as error:
        registry.broken[name] = error
        return
    version = entry_point.dist.version if entry_point.dist is not None else "0"
    registry.register(plugin, name, distribution=distribution, version=version)


def _register_file(registry: Registry, path: Path) -> None:
    name = str(path)
    try:
        plugin = load_plugin_file(path)
        version = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    except (Exception, SystemExit) as error:
        registry.broken[name] = error
        return
    registry.register(plugin, name, distribution=path.name, version=version)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"--plugin {path}: no such file; give the path of a Python file with hook implementations")
    return path.resolve()


def _conflict(offers: Sequence[Offer]) -> str:
    sources = [f"{offer.distribution} {offer.version}" for offer in offers]
    return (
        f"{offers[0].kind} '{offers[0].component.name}' is offered by {' and by '.join(sources)}; "
        f"uninstall or rename one, or leave a plugin out with {DISABLE_VARIABLE}={offers[0].distribution}"
    )
