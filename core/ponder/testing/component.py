"""What the suites of all kinds check: found by its name, options as they should be, an entry module that is light."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import importlib.metadata
import inspect
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

from ponder.components import Component, Kind
from ponder.describe import first_line, options
from ponder.entries import SECTIONS
from ponder.errors import InputError
from ponder.example import example_problems, example_recipe
from ponder.offers import HOOKS, PluginError, check_component
from ponder.options import CheckedOptions, check_options
from ponder.plugins import GROUP, Offer, Registry, load_registry, requirement_on_core
from ponder.problems import Place, Problems
from ponder.testing.outcome import brief, described, require, unchecked
from ponder.types import Example
from ponder.yaml_reader import Node, node_of

T = TypeVar("T")

HEAVY: Final = (
    "accelerate", "datasets", "jax", "math_verify", "matplotlib", "mlflow", "numpy", "openai", "pandas", "peft", "ray",
    "reasoning_gym", "scipy", "sklearn", "sympy", "tensorflow", "torch", "transformers", "trl", "vllm",
)  # fmt: skip
"""Libraries whose import costs what `ponder plugins` and `ponder validate` must not cost."""


class Examples:
    """A task of given examples."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = tuple(examples)

    def examples(self) -> Sequence[Example]:
        """Those that were given, each time anew."""
        return copy.deepcopy(self._examples)


class ComponentSuite:
    """The checks that every component passes. Subclasses name one of them, and say which options it is tested with."""

    kind: ClassVar[Kind]
    type: ClassVar[str] = ""
    """The component's name in recipes."""
    options: ClassVar[Mapping[str, Any]] = {}
    """Options as a recipe would give them, besides the defaults; paths are relative to the test's file."""
    plugin_file: ClassVar[str | Path | None] = None
    """A plain file with the plugin, relative to the test's file, where it is not installed as a package."""
    tasks: ClassVar[Mapping[str, Sequence[Example]]] = {}
    """Examples of the tasks that options name."""

    def test_it_is_found_under_its_name(self) -> None:
        require(self.type, f"write `type = ...` in {type(self).__name__}: the component's name in recipes")
        try:
            self.offer()
        except InputError as error:
            raise AssertionError(
                f"{error}\nIs it installed (pip install -e FOLDER), does its pyproject.toml have a section "
                f"[project.entry-points.{GROUP}] that names its module, and does a function {HOOKS[self.kind]} there, marked "
                f"@hookimpl, yield Component({self.type!r}, ...)?"
            ) from error

    def test_its_record_is_sound(self) -> None:
        try:
            check_component(self.kind, self.component())
        except PluginError as error:
            raise AssertionError(str(error)) from error

    def test_its_options_say_what_it_does(self) -> None:
        config = self.component().config
        require(
            first_line(config),
            f"{config.__name__} has no docstring; write one sentence under `class {config.__name__}`: `ponder plugins` shows it",
        )

    def test_every_option_has_a_text(self) -> None:
        config = self.component().config
        bare = [option.name for option in options(config) if not option.text]
        require(not bare, f"write a string under each of these fields of {config.__name__}: {', '.join(bare)}")

    def test_its_options_are_valid_in_a_recipe(self) -> None:
        self.checked()

    def test_its_options_come_back_from_what_a_run_writes_down(self) -> None:
        checked = self.checked()
        text = json.dumps(checked.plain)
        again = self.checked(json.loads(text))
        require(
            again.config == checked.config,
            f"options that were saved and read again are not the same: {brief(again.config)} for {brief(checked.config)}; "
            "keep to text, numbers, booleans, lists, mappings, paths and dataclasses of these, and do not change them in __post_init__",
        )

    def test_its_options_cannot_be_changed(self) -> None:
        config = self.config()
        names = [field.name for field in dataclasses.fields(config)]
        with contextlib.suppress(dataclasses.FrozenInstanceError):
            for name in names:
                setattr(config, name, getattr(config, name))
                raise AssertionError(
                    f"{type(config).__name__}.{name} can be assigned to: write @dataclass(frozen=True, kw_only=True)"
                )

    def test_importing_its_plugin_loads_nothing_heavy(self) -> None:
        module = _entry_module(self.offer())
        if module is None:
            unchecked("it is a plain file, which is imported as it is")
        heavy = _loaded_by(module, tuple(sys.path))
        require(
            not heavy,
            f"`import {module}` loads {', '.join(heavy)}, so that every `ponder` command would wait for it; keep the entry module "
            f'to options and hooks, and name the rest by lazy("{module}.other_module:Name") or import it where it is used',
        )

    def test_its_distribution_says_which_ponder_it_needs(self) -> None:
        offer = self.offer()
        if _entry_module(offer) is None:
            unchecked("it is a plain file")
        needed = requirement_on_core(importlib.metadata.distribution(offer.distribution))
        core = importlib.metadata.version("ponder")
        following = f"{core.split('.')[0]}.{int(core.split('.')[1]) + 1}"
        require(
            needed is not None and needed.specifier,
            f'add "ponder>={core},<{following}" to the dependencies in the pyproject.toml of {offer.distribution}: without it, '
            "nobody is told when plugin and core no longer fit",
        )

    def test_the_example_that_is_shown_of_it_is_valid(self) -> None:
        recipe = example_recipe(self.registry(), self.kind, self.type)
        place = self.kind if self.kind == "tracker" else f"{SECTIONS[self.kind]}."
        problems = [problem for problem in example_problems(self.registry(), recipe) if f": {place}" in problem]
        require(
            not problems,
            f"the recipe that `ponder plugins show {self.kind} {self.type}` gives as an example has problems: "
            f"{'; '.join(problems)}. Give {self.component().config.__name__} a class variable with options that are valid: "
            "`example: ClassVar[Mapping[str, object]] = {...}`",
        )

    def test_it_is_built_from_its_options(self) -> None:
        self.build()

    # What the checks are made of; a subclass may replace it.

    @classmethod
    def registry(cls) -> Registry:
        """Where the component is looked up."""
        return _installed() if cls.plugin_file is None else _with_file(cls._folder() / cls.plugin_file)

    def offer(self) -> Offer:
        """The component with where it comes from."""
        return self.registry().offer(self.kind, self.type)

    def component(self) -> Component[Any]:
        """The component itself."""
        return self.offer().component

    def config(self, **changes: object) -> Any:
        """The options to test with, checked as in a recipe."""
        return self.checked({**self.given_options(), **changes}).config

    def checked(self, given: Mapping[str, object] | None = None) -> CheckedOptions:
        """Options as a recipe would check them; by default those that the suite gives."""
        return _checked(self.component(), self.given_options() if given is None else given, self._folder())

    def given_options(self) -> Mapping[str, object]:
        """The options that the suite gives."""
        return self.options

    def build(self, **changes: object) -> Any:
        """A new object of the component, made from the options with these changes."""
        component, config = self.component(), self.config(**changes)
        self._refuse_what_only_a_recipe_gives(component)
        try:
            return component.make(config, **self.offered())
        except Exception as error:
            raise AssertionError(
                f"it cannot be built from {brief(config, 200)}: {described(error)}. Build it from its options alone, or give the "
                "suite `options` that it can be built from"
            ) from error

    def offered(self) -> dict[str, object]:
        """What `build` may ask for by keyword, besides the options."""
        return {}

    def task(self, name: str) -> Any:
        """The task of a name that the options give: one of the suite's, or an installed one with its defaults."""
        if name in self.tasks:
            return Examples(self.tasks[name])
        options = json.loads(name) if name.startswith("{") else {"type": name}
        installed = options.pop("type")
        if installed not in self.registry().names("task"):
            unchecked(f"its options name the task {name!r}; give the suite `tasks = {{{name!r}: [Example(...)]}}`")
        component = self.registry().find("task", installed)
        return component.make(_checked(component, options, self._folder()).config, task=self.task)

    def _refuse_what_only_a_recipe_gives(self, component: Component[Any]) -> None:
        parameters = list(component.parameters().values())[1:]
        needed = [
            p.name for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        ]
        missing = [name for name in needed if name not in self.offered()]
        if missing:
            unchecked(
                f"building it takes `{missing[0]}`, which only the run of a recipe gives; replace `offered` in the suite"
            )

    @classmethod
    def _folder(cls) -> Path:
        with contextlib.suppress(TypeError, OSError):
            return Path(inspect.getfile(cls)).resolve().parent
        return Path.cwd()

    @classmethod
    def shared(cls, name: str, make: Callable[[], T]) -> T:
        """A thing that is made once for all checks of this suite."""
        kept = cls.__dict__.get(f"_shared_{name}")
        if kept is None:
            kept = (make(),)
            setattr(cls, f"_shared_{name}", kept)
        value: T = kept[0]
        return value

    @classmethod
    def directory(cls) -> Path:
        """A directory of this suite's own, removed at its end."""
        return Path(cls.shared("directory", lambda: tempfile.TemporaryDirectory(prefix="ponder-suite-")).name).resolve()

    @classmethod
    def teardown_class(cls) -> None:
        """Let go of what the checks shared."""
        for name in [name for name in vars(cls) if name.startswith("_shared_")]:
            (value,) = getattr(cls, name)
            delattr(cls, name)
            if isinstance(value, tempfile.TemporaryDirectory):
                value.cleanup()


def _checked(component: Component[Any], given: Mapping[str, object], folder: Path) -> CheckedOptions:
    problems = Problems()
    node = node_of(dict(given), Place(str(folder / "options"), 0, folder))
    checked = check_options(component.config, node, component.name, problems, _names)
    if checked is None:
        found = "; ".join(f"{problem.path}: {problem.text}" for problem in problems.found)
        raise AssertionError(f"these options are not valid: {found}. Give others in the suite's `options`")
    return checked


def _names(field: dataclasses.Field[Any], node: Node | None, path: str) -> list[str]:
    """The names in a reference option; an entry that is written in place is its own name."""
    given = field.metadata["default"] if node is None else node.plain()
    items = given if isinstance(given, list | tuple) else [given]
    return [json.dumps(item) if isinstance(item, Mapping) else str(item) for item in items]


@functools.cache
def _installed() -> Registry:
    return load_registry()


@functools.cache
def _with_file(file: Path) -> Registry:
    return load_registry([file])


def _entry_module(offer: Offer) -> str | None:
    """The module that the distribution's entry point names; None for a plain file."""
    try:
        found = importlib.metadata.distribution(offer.distribution).entry_points.select(group=GROUP)
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((point.module for point in found), None)


@functools.cache
def _loaded_by(module: str, path: tuple[str, ...]) -> tuple[str, ...]:
    program = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    require(done.returncode == 0, f"`import {module}` fails in a fresh interpreter: {done.stderr.strip()[-500:]}")
    return tuple(sorted(set(done.stdout.split()) & set(HEAVY)))
