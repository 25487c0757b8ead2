"""The suite for trackers: whatever a run is called and measures, it is taken, and no run ever ends because of it."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

from ponder.testing.component import ComponentSuite
from ponder.testing.outcome import brief, described, require
from ponder.tracking import SpooledTracker

_PARAMS: Final[Mapping[str, object]] = {
    "type": "grpo",
    "group_size": 16,
    "learning_rate": 3e-6,
    "rewards": ["accuracy", "format"],
    "loss": {"type": "grpo", "kl_coef": 0.001},
    "checkpoint_every": None,
    "packing": False,
}
_HOSTILE_NAMES: Final = (
    "pass@1", "rewards/format/timeout", "a b", "", " ", ".", "..", "../../up", "/etc/passwd", "a" * 1000, "\u51c6\u786e\u7387", "\U0001f9d1",
    "x\ny", "\x00", "\x1b[31m", "\ud800", "%s {0}", "'; DROP TABLE runs; --", "a.b.c", "a:b", "<b>", "con", "-rf", "\u202e",
)  # fmt: skip
_HOSTILE_NUMBERS: Final = (float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e308, 5e-324, 2**63, -(10**30), True)


class TrackerSuite(ComponentSuite):
    """Checks a tracker on runs that are told to it, in a directory of their own."""

    kind = "tracker"
    seconds: ClassVar[float] = 30.0
    """Time on the clock that a small run may take it."""

    def test_a_recipe_with_two_stages_is_taken(self) -> None:
        tracker = self.build()
        tracker.start("recipe", {"seed": 0})
        for name in ("pretrain", "reason"):
            self._stage(tracker, name)
        tracker.finish("finished")

    def test_a_run_in_a_run_in_a_run_is_taken(self) -> None:
        tracker = self.build()
        for name in ("outer", "middle", "inner"):
            tracker.start(name, {})
        tracker.log({"depth": 3.0})
        for status in ("finished", "failed", "killed"):
            tracker.finish(status)

    def test_every_status_is_taken(self) -> None:
        tracker = self.build()
        for status in ("finished", "failed", "killed"):
            tracker.start(f"run that {status}", _PARAMS)
            tracker.finish(status)

    def test_hostile_names_of_runs_are_taken(self) -> None:
        self._require_taken("a run named", _HOSTILE_NAMES, lambda tracker, name: self._named(tracker, name))

    def test_hostile_names_of_metrics_are_taken(self) -> None:
        self._require_taken("a metric named", _HOSTILE_NAMES, lambda tracker, name: tracker.log({name: 1.0}, 0))

    def test_hostile_numbers_are_taken(self) -> None:
        self._require_taken("a metric of", _HOSTILE_NUMBERS, lambda tracker, value: tracker.log({"loss": value}, 1))

    def test_hostile_parameters_are_taken(self) -> None:
        hostile: list[Mapping[str, object]] = [{name: name} for name in _HOSTILE_NAMES]
        hostile += [
            {"deep": {"a": {"b": {"c": [1, {"d": None}]}}}},
            {"long": "x" * 100_000},
            {f"option_{number}": number for number in range(500)},
            {"path": Path("a/b"), "numbers": [float("nan"), 10**40], "none": None, "empty": {}},
        ]
        self._require_taken("parameters", hostile, lambda tracker, params: self._with_params(tracker, params))

    def test_hostile_files_are_taken(self) -> None:
        self._require_taken("a file", self._files(), lambda tracker, path: tracker.artifact(path))

    def test_steps_may_be_missing_repeated_and_out_of_order(self) -> None:
        tracker = self.build()
        tracker.start("steps", {})
        for step in (None, 0, 5, 5, 1, None, 10**12, -1):
            tracker.log({"loss": 0.5}, step)
        tracker.log({}, 3)
        tracker.log({f"metric_{number}": 1.0 for number in range(300)}, 4)
        tracker.finish("finished")

    def test_calls_outside_of_any_run_leave_it_usable(self) -> None:
        tracker = self.build()
        (path := self.directory() / "alone.txt").write_text("nothing")
        for call in (
            lambda: tracker.log({"a": 1.0}),
            lambda: tracker.artifact(path),
            lambda: tracker.finish("finished"),
        ):
            with contextlib.suppress(Exception):
                call()
        self._require_usable(tracker, "after calls outside of any run")

    def test_a_file_that_is_not_there_leaves_it_usable(self) -> None:
        tracker = self.build()
        tracker.start("missing", {})
        with contextlib.suppress(Exception):
            tracker.artifact(self.directory() / "no-such-file.jsonl")
        self._require_usable(tracker, "after a file that was not there", is_open=True)
        tracker.finish("finished")

    def test_what_it_is_given_is_left_as_it_was(self) -> None:
        tracker, params, metrics = self.build(), dict(copy.deepcopy(_PARAMS)), {"loss": 0.5}
        tracker.start("given", params)
        tracker.log(metrics, 1)
        tracker.finish("finished")
        require(
            (params, metrics) == (dict(_PARAMS), {"loss": 0.5}),
            "it changes the parameters or metrics that it is given; copy them",
        )

    def test_a_run_can_be_told_again_by_a_new_tracker(self) -> None:
        for _ in range(2):
            tracker = self.build()
            tracker.start("resumed", _PARAMS)
            tracker.log({"loss": 0.5}, 1)
            tracker.finish("finished")

    def test_it_works_on_another_thread_than_the_one_that_built_it(self) -> None:
        tracker, errors = self.build(), list[BaseException]()

        def tell() -> None:
            try:
                self._stage(tracker, "threaded")
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=tell)
        thread.start()
        thread.join(self.seconds)
        require(not thread.is_alive(), f"on another thread it is not done after {self.seconds:g} s")
        require(not errors, f"on another thread it raises {described(errors[0]) if errors else ''}")

    def test_it_prints_nothing_to_standard_output(self) -> None:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            self._stage(self.build(), "quiet")
        require(not printed.getvalue(), f"it prints {brief(printed.getvalue())}, which would break `ponder run --json`")

    def test_a_whole_run_is_sent_and_nothing_reaches_the_trainer(self) -> None:
        said: list[str] = []
        spool = self.directory() / f"spool-{time.monotonic_ns()}.jsonl"
        tracker = SpooledTracker(self.build, spool, said.append)
        began = time.monotonic()
        tracker.start("recipe", {"seed": 0})
        tracker.start("reason", _PARAMS)
        for name, value in zip(_HOSTILE_NAMES, _HOSTILE_NUMBERS * 3, strict=False):
            with contextlib.suppress(OverflowError):
                tracker.log({name: value}, 1)
        tracker.finish("finished")
        tracker.finish("finished")
        has_ended = tracker.close()
        require(has_ended, "its thread does not end; let no call hang")
        require(not said, f"the run was told: {'; '.join(said)}")
        require(time.monotonic() - began <= self.seconds, f"a small run took it more than {self.seconds:g} s")

    def offered(self) -> dict[str, object]:
        """The root of the runs."""
        return {"runs": self.runs()}

    def runs(self) -> Path:
        """The root of the runs that are told; replace it to prepare what is slow to make."""
        directory = self.directory() / "runs"
        directory.mkdir(exist_ok=True)
        return directory

    def _stage(self, tracker: Any, name: str) -> None:
        tracker.start(name, _PARAMS)
        for step in range(3):
            tracker.log({"loss": 1.0 / (step + 1), "rewards/accuracy": 0.25}, step)
        for path in self._files()[:2]:
            tracker.artifact(path)
        tracker.finish("finished")

    def _named(self, tracker: Any, name: str) -> None:
        tracker.start(name, {})
        tracker.finish("finished")

    def _with_params(self, tracker: Any, params: Mapping[str, object]) -> None:
        tracker.start("parameters", params)
        tracker.finish("finished")

    def _require_taken(self, what: str, hostile: Any, tell: Callable[[Any, Any], None]) -> None:
        tracker, failed = self.build(), list[str]()
        tracker.start("hostile", {})
        for value in hostile:
            try:
                tell(tracker, value)
            except Exception as error:
                failed.append(f"{what} {brief(value, 60)}: {described(error)}")
        tracker.finish("finished")
        require(
            not failed,
            f"{len(failed)} calls raise:\n  "
            + "\n  ".join(failed)
            + "\nChange or leave out what the tracking service does not take: "
            "names in recipes and metrics are free, and a metric may be NaN",
        )

    def _require_usable(self, tracker: Any, when: str, *, is_open: bool = False) -> None:
        try:
            if not is_open:
                tracker.start("usable", {})
            tracker.log({"loss": 0.5}, 1)
            if not is_open:
                tracker.finish("finished")
        except Exception as error:
            raise AssertionError(f"{when} it cannot go on: {described(error)}") from error

    def _files(self) -> list[Path]:
        directory = self.directory() / "files"
        if not directory.exists():
            directory.mkdir()
            rows = [
                {"prompt": "1 + 1", "completion": "2", "reward": 1.0},
                {"completion": "\ud800", "other": [1, {"a": None}]},
            ]
            (directory / "rollouts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            (directory / "report.html").write_text("<p>A page</p>", encoding="utf-8")
            (directory / "torn.jsonl").write_text('{"a": 1}\n{"b": ')
            (directory / "empty.jsonl").touch()
            (directory / "bytes.bin").write_bytes(bytes(range(256)) * 10)
            (directory / "numbers.jsonl").write_text('{"a": NaN, "b": 1e999}\n[1]\n"text"\n')
            (directory / "a b \u51c6.txt").write_text("odd name", encoding="utf-8")
        names = (
            "rollouts.jsonl",
            "report.html",
            "torn.jsonl",
            "empty.jsonl",
            "bytes.bin",
            "numbers.jsonl",
            "a b \u51c6.txt",
        )
        return [directory / name for name in names]
