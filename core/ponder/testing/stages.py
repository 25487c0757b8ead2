"""The suite for stages: run in a small recipe, killed, resumed, and watched where they write."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import math
import random
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from ponder import building
from ponder.components import EARLIER
from ponder.context import FinishedStage
from ponder.durable import damage
from ponder.entries import SECTIONS
from ponder.errors import PonderError
from ponder.own_models import is_policy_to_draw_from
from ponder.plugins import Registry
from ponder.testing import stand_ins
from ponder.testing.component import ComponentSuite
from ponder.testing.disk import Disk, Killed
from ponder.testing.outcome import brief, described, require, unchecked

_NAME: Final = "it"
_CHANGING: Final = ("timings.jsonl",)


@dataclass(frozen=True, slots=True)
class StageRun:
    """What a run of the recipe left."""

    stages: Sequence[FinishedStage]
    said: str
    """What the display showed."""
    printed: str
    """What was printed to standard output besides."""
    effects: int
    """How often the stage changed something on the disk."""
    written: Sequence[Path]
    """The files that were opened to be written, outside of the runs' directory."""


class StageSuite(ComponentSuite):
    """Checks a stage in a recipe of its own: the suite's, or one of stand-ins and the suite's `options`.

    Stand-ins are a policy of some ten thousand parameters, twelve sums, a reward and a sampler; they need torch and
    transformers. Give options that make the stage small: it is run several times.
    """

    kind = "stage"
    recipe: ClassVar[str] = ""
    """A recipe in YAML whose last stage of this type is checked; empty makes one."""
    files: ClassVar[Mapping[str, str]] = {}
    """Files beside the recipe: names and contents."""
    kills: ClassVar[int] = 3
    """At how many moments, evenly spread over the stage's changes on the disk, it is killed and resumed."""

    def test_it_runs(self) -> None:
        self.run()

    def test_what_it_made_lies_in_its_directory_and_can_be_used(self) -> None:
        stage = self.checked_stage(self.run())
        if stage.result.task is not None:
            for number, line in enumerate(stage.result.task.read_text(encoding="utf-8").splitlines(), 1):
                require(
                    isinstance(_read(line), dict),
                    f"{stage.result.task.name}:{number} is no JSON object; a task is JSON Lines",
                )
        if stage.result.policy is not None:
            try:
                building.load_policy(self.run_registry(), stage.directory)
            except Exception as error:
                raise AssertionError(f"the policy it made cannot be loaded: {described(error)}") from error

    def test_its_metrics_are_finite_numbers(self) -> None:
        for name, value in self.checked_stage(self.run()).result.metrics.items():
            require(isinstance(value, int | float) and math.isfinite(value), f"its metric {name!r} is {value}")

    def test_its_log_goes_forward(self) -> None:
        lines = (self.checked_stage(self.run()).directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        steps = [line["step"] for line in map(_read, lines) if "step" in line]
        require(steps == sorted(steps), f"the steps of what it logs go back: {brief(steps)}")

    def test_the_same_recipe_gives_the_same_bytes(self) -> None:
        again = self.run("again", disturbed=True)
        self._require_same(self.run(), again, "run again, with the global random numbers in another state, it gives")

    def test_killed_and_resumed_it_gives_the_same_bytes(self) -> None:
        expected = self.run()
        for kill in range(1, self.kills + 1):
            fatal = max(1, expected.effects * kill // (self.kills + 1))
            directory = f"killed-{kill}"
            try:
                self.run(directory, fatal=fatal)
            except Killed:
                resumed = self.run(directory)
                where = f"killed at change {fatal} of {expected.effects} and resumed, it gives"
                self._require_same(expected, resumed, where)

    def test_what_is_done_is_not_done_again(self) -> None:
        self.run()
        again = self.run("main")
        require("done before" in again.said, "run a second time it is made again: keep plain data in its options")

    def test_it_writes_only_in_its_directory(self) -> None:
        run, folder = self.run(), self.directory()
        require(
            not run.written,
            f"it opens {', '.join(map(str, run.written[:3]))} to write: a stage writes under `context.directory` only",
        )
        extra = [
            path.name
            for path in folder.iterdir()
            if not path.name.startswith(("runs-", "small.yaml")) and path.name not in self.files
        ]
        require(not extra, f"it leaves {', '.join(extra)} in the current directory; write under `context.directory`")

    def test_what_it_was_made_from_is_left_as_it_was(self) -> None:
        for stage in self.run().stages:
            problem = damage(stage.directory)
            require(
                problem is None,
                f"the published stage {stage.name!r} was changed ({problem}); write under `context.directory`",
            )

    def test_it_prints_nothing(self) -> None:
        printed = self.run().printed
        require(
            not printed,
            f"it prints {brief(printed)}: use `context.say`, which goes round the progress bar and `--json`",
        )

    def test_its_plan_is_one_sentence(self) -> None:
        plan = getattr(self._entry().config, "plan", None)
        if plan is None:
            unchecked("its options have no method `plan`, which they need not have")
        text = plan()
        require(
            isinstance(text, str) and text and "\n" not in text,
            f"`plan()` gives {brief(text)}; one line of text is wanted",
        )

    def test_an_error_of_its_own_is_told_with_its_name(self) -> None:
        entry = self._entry()
        require(
            entry.type == self.type,
            f"the last stage of the recipe is a {entry.type}; let it be the {self.type} to check",
        )

    # What the checks are made of.

    def run(self, directory: str = "", *, fatal: int = 0, disturbed: bool = False) -> StageRun:
        """Run the recipe in a directory of runs, or give the run that all checks share.

        `fatal` is the number of the change on the disk at which the process seems to be killed.
        """
        if not directory:
            found = self.shared("run", self._first_run)
            if isinstance(found, AssertionError):
                raise found
            return found
        from ponder.progress import Display
        from ponder.run import run_recipe

        registry, screen, printed = self.run_registry(), io.StringIO(), io.StringIO()
        disk = Disk(self.directory() / f"runs-{directory}", fatal)
        watch = _Watch(disk, self._entry().name)
        with (
            _random_state(disturbed),
            contextlib.chdir(self.directory()),
            contextlib.redirect_stdout(printed),
            watch.on(registry),
            disk.watched(),
        ):
            try:
                outcome = run_recipe(self._recipe(), registry, disk.root, Display(screen))
            except PonderError as error:
                raise AssertionError(f"the recipe fails: {error}") from error
        return StageRun(outcome.stages, screen.getvalue(), printed.getvalue(), disk.effects, tuple(disk.outside))

    def _first_run(self) -> StageRun | AssertionError:
        """The run that all checks share, or why there is none: it is not tried again for each of them."""
        try:
            return self.run("main")
        except AssertionError as error:
            return error

    def run_registry(self) -> Registry:
        """What the recipe is made of: everything installed, and the stand-ins."""

        def make() -> Registry:
            registry = self.registry().copy()
            registry.register(stand_ins, "ponder.testing", distribution="ponder-testing")
            return registry

        return self.shared("registry", make)

    def checked_stage(self, run: StageRun) -> FinishedStage:
        """The stage that is checked."""
        return run.stages[-1]

    def _recipe(self) -> Any:
        from ponder.recipe import load_recipe

        def make() -> Any:
            path = self.directory() / "small.yaml"
            path.write_text(self.recipe or self._made_recipe(), encoding="utf-8")
            for name, content in self.files.items():
                (self.directory() / name).write_text(content, encoding="utf-8")
            try:
                return load_recipe(path, (), self.run_registry())
            except PonderError as error:
                raise AssertionError(f"the recipe of the suite is not valid: {error}") from error

        return self.shared("recipe", make)

    def _entry(self) -> Any:
        return list(self._recipe().stages.values())[-1]

    def _made_recipe(self) -> str:
        options: dict[str, object] = {"type": self.type, **self.options}
        sections: dict[str, dict[str, object]] = {}
        for option in dataclasses.fields(self.component().config):
            kind, default = option.metadata.get("ref"), option.metadata.get("default")
            left_out = default is None and not is_policy_to_draw_from(option)
            if kind is None or option.name in options or left_out or default == EARLIER:
                continue
            if kind not in ("policy", "task", "reward", "sampler"):
                if default is dataclasses.MISSING:
                    unchecked(f"its option {option.name!r} names a {kind}: give the suite a whole `recipe`")
                continue
            name = f"small_{kind}"
            sections.setdefault(SECTIONS[kind], {})[name] = {"type": stand_ins.NAME}
            options[option.name] = [name] if option.metadata["many"] else name
        # JSON is YAML.
        return json.dumps({"name": "small", **sections, "stages": {_NAME: options}}, default=str)

    def _require_same(self, expected: StageRun, found: StageRun, how: str) -> None:
        one, other = (_contents(self.checked_stage(run).directory) for run in (expected, found))
        require(set(one) == set(other), f"{how} other files: {', '.join(sorted(set(one) ^ set(other)))}")
        differing = sorted(name for name in one if one[name] != other[name])
        require(
            not differing,
            f"{how} another {', '.join(differing[:3])}: draw random numbers from `context.seed` and what they are for "
            "(ponder.randomness.derive_seed), keep everything that later steps need in the state given to `context.steps`, and give "
            "what depends on the clock to `context.timing`",
        )

    def given_options(self) -> Mapping[str, object]:
        """The options of the stage in the recipe, with the names that stand for what it refers to."""
        options: Mapping[str, object] = self._entry().options
        return options

    @classmethod
    def teardown_class(cls) -> None:
        """Remove the runs, which are many."""
        if "_shared_directory" in cls.__dict__:
            shutil.rmtree(cls.directory(), ignore_errors=True)
            cls.directory().mkdir()
        super().teardown_class()


class _Watch:
    """Counts changes on the disk from the moment the stage starts until its result is published."""

    def __init__(self, disk: Disk, stage: str) -> None:
        self._disk = disk
        self._stage = stage

    @contextlib.contextmanager
    def on(self, registry: Registry) -> Iterator[None]:
        """Let the registry's hooks tell this one."""
        from ponder.hookspecs import hookimpl

        def ponder_stage_started(context: Any) -> None:
            if context.name == self._stage:
                self._disk.counts = True

        def ponder_stage_finished(context: Any) -> None:
            self._disk.counts = False

        holder = type("Watcher", (), {})()
        holder.ponder_stage_started = hookimpl(ponder_stage_started)
        holder.ponder_stage_finished = hookimpl(ponder_stage_finished)
        with registry.observed(holder):
            yield


@contextlib.contextmanager
def _random_state(disturbed: bool) -> Iterator[None]:
    """Keep the global random numbers as they are for whoever comes after, and in another state inside if asked for."""
    before = random.getstate()
    if disturbed:
        random.seed(4321)
    try:
        if disturbed and "torch" in sys.modules:
            from ponder.testing.hf_checks import disturbed_random_state

            with disturbed_random_state():
                yield
        else:
            yield
    finally:
        random.setstate(before)


def _contents(directory: Path) -> dict[str, bytes]:
    files = [path for path in sorted(directory.rglob("*")) if path.is_file() and path.name not in _CHANGING]
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def _read(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
