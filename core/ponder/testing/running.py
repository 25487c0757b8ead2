"""The suites without pytest: every check of an installed component, and how it ended."""

from __future__ import annotations

import dataclasses
import importlib
import traceback
import typing
import unittest
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from ponder.components import Kind
from ponder.own_models import has_own_model
from ponder.plugins import Offer, Registry
from ponder.testing.component import ComponentSuite
from ponder.testing.outcome import described, unchecked

Status: TypeAlias = Literal["passed", "failed", "not checked"]

SUITES: Final[Mapping[Kind, str]] = {
    "policy": "policies:PolicySuite",
    "task": "tasks:TaskSuite",
    "reward": "rewards:RewardSuite",
    "sampler": "samplers:SamplerSuite",
    "loss": "losses:LossSuite",
    "stage": "stages:StageSuite",
    "tracker": "trackers:TrackerSuite",
}
"""The suite of each kind, below `ponder.testing`."""

_PREFIX: Final = "test_"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How one check of one component ended."""

    kind: str
    name: str
    check: str
    """What was checked, as a sentence."""
    status: Status
    reason: str = ""
    """What is wrong and what to do, or why it was not checked."""


def checks_of(registry: Registry, offer: Offer, methods: Sequence[str] | None = None) -> Iterator[CheckResult]:
    """Run the suite of the component's kind, or these checks of it; see `suite_of`."""
    suite = suite_of(registry, offer)
    try:
        for method in check_names(suite) if methods is None else methods:
            status, reason = _outcome(suite, method)
            yield CheckResult(offer.kind, offer.component.name, sentence(method), status, reason)
    finally:
        suite.teardown_class()


def check_names(suite: type[ComponentSuite]) -> list[str]:
    """The methods that are checks: those of all components first."""
    names = [name for owner in reversed(suite.__mro__) for name in vars(owner) if name.startswith(_PREFIX)]
    return list(dict.fromkeys(names))


def sentence(method: str) -> str:
    """What a check is called when it is not a method."""
    return method.removeprefix(_PREFIX).replace("_", " ")


def suite_of(registry: Registry, offer: Offer) -> type[ComponentSuite]:
    """The suite of the component's kind, with the options that its config's class variable `example` gives."""
    module, _, name = SUITES[offer.kind].partition(":")
    base: Any = getattr(importlib.import_module(f"ponder.testing.{module}"), name)

    class Checked(base):
        type = offer.component.name
        options = getattr(offer.component.config, "example", {})

        @classmethod
        def registry(cls) -> Registry:
            return registry

        @classmethod
        def _folder(cls) -> Path:
            # There is no test beside which the example's files could lie.
            return Path.cwd()

        def given_options(self) -> Any:
            _refuse_what_is_missing(offer.component.config)
            return super().given_options()

        def build(self, **changes: object) -> Any:
            if offer.kind == "sampler" and has_own_model(offer.component.config):
                unchecked(
                    "it asks a model of its own: test it with a suite that has one, such as `ponder.testing.endpoints`"
                )
            return super().build(**changes)

    return Checked


def _refuse_what_is_missing(config: type) -> None:
    """A component may have options without defaults; then its `example` has to give them, and files must be there."""
    shown, hints = getattr(config, "example", {}), typing.get_type_hints(config)
    for option in dataclasses.fields(config):
        if not option.init:
            continue
        taken = typing.get_args(hints[option.name]) or (hints[option.name],)
        # What may also be a text may be a name of something elsewhere.
        if option.name in shown and Path in taken and str not in taken:
            _refuse_missing_files(option.name, shown[option.name])
        is_required = option.metadata.get("default", option.default) is MISSING and option.default_factory is MISSING
        is_given = option.name in shown or option.metadata.get("ref", "stage") != "stage"
        if is_required and not is_given:
            unchecked(
                f"its option {option.name!r} must be given: test it with a suite that gives `options`, or write "
                f"`example: ClassVar = {{{option.name!r}: ...}}` in {config.__name__}"
            )


def _refuse_missing_files(option: str, shown: object) -> None:
    for path in shown if isinstance(shown, list | tuple) else [shown]:
        if path is not None and not Path(str(path)).exists():
            unchecked(
                f"its example's {option} {path} does not exist: check it in the folder where it is, or test it with a suite that "
                "gives `options`"
            )


def _outcome(suite: type[ComponentSuite], method: str) -> tuple[Status, str]:
    try:
        getattr(suite(), method)()
    except unittest.SkipTest as reason:
        return "not checked", str(reason)
    except AssertionError as error:
        return "failed", str(error)
    except (Exception, SystemExit) as error:
        last = "".join(traceback.format_exception(error)[-3:]).rstrip()
        return "failed", f"it raises {described(error)}\n{last}"
    return "passed", ""
