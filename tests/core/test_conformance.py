"""`ponder plugins check` and the suites: sound components pass, and each fault is found by the check that is about it."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

import ponder.testing
from ponder import Completion, Component, Example, LossOutput, RewardConfig, StageResult, hookimpl
from ponder.cli import main
from ponder.conformance import check_distribution
from ponder.errors import InputError, StageError
from ponder.plugins import Registry, load_registry
from ponder.testing import RewardSuite, hostile_texts
from ponder.testing.running import SUITES, check_names, checks_of

PUBLIC = {
    "LossSuite", "PolicySuite", "RewardSuite", "SamplerSuite", "StageSuite", "TaskSuite", "TrackerSuite", "hostile_texts",
}  # fmt: skip
TOY = Path(__file__).parent.parent / "data" / "toy_plugin.py"


def test_the_public_names_of_the_kit_are_these_and_no_others() -> None:
    assert set(ponder.testing.__all__) == PUBLIC
    assert all(getattr(ponder.testing, name) is not None for name in PUBLIC)


def test_every_suite_has_at_least_fifteen_checks() -> None:
    suites = [name.partition(":")[2] for name in SUITES.values()]
    assert {name for name in suites if len(check_names(getattr(ponder.testing, name))) < 15} == set()


def test_hostile_texts_are_many_and_among_them_every_sort() -> None:
    texts = hostile_texts()
    assert len(texts) >= 50
    assert max(map(len, texts.values())) >= 1_000_000
    assert any("\ud800" in text for text in texts.values())
    assert "" in texts.values()


@dataclass(frozen=True, kw_only=True)
class Config(RewardConfig):
    """A reward with a fault."""

    example: ClassVar[Mapping[str, object]] = {}


def failed(kind: str, build: Any, config: Any = Config) -> set[str]:
    """The checks that a component of this kind fails."""
    return set(checked(kind, build, config, "failed"))


def checked(kind: str, build: Any, config: Any, status: str) -> dict[str, str]:
    """The checks of a component of this kind that end with this status, and why."""
    hook = SUITES[kind].partition(":")[0]  # type: ignore[index]

    def implementation() -> Iterator[Component[Any]]:
        yield Component("faulty", config, build)

    implementation.__name__ = f"ponder_{hook}"
    plugin = type("Plugin", (), {})()
    setattr(plugin, implementation.__name__, hookimpl(implementation))
    registry = Registry()
    registry.register(plugin, "faulty")
    assert not registry.broken
    results = list(checks_of(registry, registry.offer(kind, "faulty")))  # type: ignore[arg-type]
    assert all(result.reason for result in results if result.status == "failed")
    return {result.check: result.reason for result in results if result.status == status}


class Reward:
    """Sound, but for what its subclasses do."""

    def __init__(self, config: Config) -> None:
        self.calls = 0

    def __call__(self, example: Example, completion: Completion) -> Any:
        return 1.0 if completion.text else None


class Forgetful(Reward):
    def __call__(self, example: Example, completion: Completion) -> Any:
        self.calls += 1
        return float(self.calls)


class Grabbing(Reward):
    def __init__(self, config: Config) -> None:
        self.lock = threading.Lock()


class Slow(Reward):
    def __call__(self, example: Example, completion: Completion) -> Any:
        while completion.text.startswith("\n\n\n"):
            time.process_time()
        return 1.0


class Encoding(Reward):
    def __call__(self, example: Example, completion: Completion) -> Any:
        return float(len(completion.text.encode()))


class Meddling(Reward):
    def __call__(self, example: Example, completion: Completion) -> Any:
        if isinstance(example.metadata, dict):
            example.metadata["seen"] = True
        return 1.0


class Wordy(Reward):
    def __call__(self, example: Example, completion: Completion) -> Any:
        return "good"


class Endless(Reward):
    def __call__(self, example: Example, completion: Completion) -> Any:
        return float("nan") if len(completion.text) > 50 else 1.0


class Needy(Reward):
    def __call__(self, example: Example, completion: Completion) -> Any:
        return float(example.answer in completion.text)  # type: ignore[operator]


class Unserved:
    """A reward of batches whose server is not there."""

    def __init__(self, config: Config) -> None:
        pass

    def score(self, rollouts: Any) -> Any:
        raise StageError("no answer from http://localhost:8000")


class Silent(Reward):
    def __call__(self, example: Example, completion: Completion) -> Any:
        return None if example.answer is None else 1.0


def test_a_reward_that_asks_a_server_which_is_not_there_is_not_checked_rather_than_failed() -> None:
    assert failed("reward", Unserved) == set()
    unchecked = checked("reward", Unserved, Config, "not checked")
    assert (
        unchecked["a score is a finite number or none"] == "it cannot score here: no answer from http://localhost:8000"
    )


def test_a_sound_reward_fails_nothing() -> None:
    assert failed("reward", Reward) == set()


@pytest.mark.parametrize(
    ("build", "check"),
    [
        (Forgetful, "the same call gives the same score"),
        (Forgetful, "the order of calls does not matter"),
        (Grabbing, "it can be sent to another process"),
        (Slow, "hostile text gets a score or none in time"),
        (Encoding, "hostile text gets a score or none in time"),
        (Endless, "hostile text gets a score or none in time"),
        (Meddling, "what it is given is left as it was"),
        (Wordy, "a score is a finite number or none"),
        (Needy, "without an answer it abstains or does not need one"),
        (Silent, "without an answer it abstains or does not need one"),
    ],
)
def test_a_rewards_fault_is_found(build: Any, check: str) -> None:
    assert check in failed("reward", build)


def test_an_option_without_a_text_and_a_config_without_a_docstring_are_found() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Bare(RewardConfig):
        size: int = 1

    Bare.__doc__ = None
    assert {"every option has a text", "its options say what it does"} <= failed("reward", Reward, Bare)


def test_an_example_that_is_not_valid_is_found() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Strict(Config):
        """A reward."""

        example: ClassVar[Mapping[str, object]] = {"size": "large"}

        size: int = 1
        """A number."""

    assert "the example that is shown of it is valid" in failed("reward", Reward, Strict)


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """A task with a fault."""


class Task:
    """Sound, but for what its subclasses do."""

    def __init__(self, config: TaskConfig) -> None:
        self.metadata: dict[str, Any] = {"level": 1}

    def examples(self) -> Any:
        return [Example(f"What is {n}?", str(n), {"level": n}) for n in range(5)]


class Shuffled(Task):
    def examples(self) -> Any:
        return random.sample(super().examples(), 5)


class Spent(Task):
    def __init__(self, config: TaskConfig) -> None:
        self.kept = iter(Task(config).examples())

    def examples(self) -> Any:
        return self.kept


class Repeating(Task):
    def examples(self) -> Any:
        return itertools.chain(super().examples(), super().examples())


class Numbered(Task):
    def examples(self) -> Any:
        return [Example(f"What is {n}?", n) for n in range(5)]  # type: ignore[arg-type]


class Hoarding(Task):
    def examples(self) -> Any:
        return [Example("What?", "4", {"path": Path("x")})]


class Sharing(Task):
    def examples(self) -> Any:
        return [Example(f"What is {n}?", str(n), self.metadata) for n in range(3)]


@pytest.mark.parametrize(
    ("build", "check"),
    [
        (Shuffled, "asked twice it gives the same examples in the same order"),
        (Shuffled, "the global random numbers do not matter"),
        (Spent, "asked twice it gives the same examples in the same order"),
        (Repeating, "no example comes twice"),
        (Numbered, "an answer is text or none"),
        (Hoarding, "examples can be written to a file"),
        (Sharing, "changing an examples metadata changes no other"),
    ],
)
def test_a_tasks_fault_is_found(build: Any, check: str) -> None:
    assert check in failed("task", build, TaskConfig)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """A loss with a fault."""


class Loss:
    """Minus the advantage times the log-probability, by the batch's tokens; its subclasses have a fault each."""

    def __init__(self, config: LossConfig) -> None: ...

    def per_token(self, inputs: Any) -> Any:
        return -(inputs.logprobs.masked_fill(~inputs.mask, 0.0) * inputs.advantages[:, None]).masked_fill(
            ~inputs.mask, 0
        )

    def __call__(self, inputs: Any) -> Any:
        return LossOutput(self.per_token(inputs).sum() / max(1, inputs.batch_tokens))


class Local(Loss):
    def __call__(self, inputs: Any) -> Any:
        return LossOutput(self.per_token(inputs).sum() / inputs.mask.sum().clamp(min=1))


class Unmasked(Loss):
    def __call__(self, inputs: Any) -> Any:
        return LossOutput(-(inputs.logprobs * inputs.advantages[:, None]).sum() / max(1, inputs.batch_tokens))


class Upside(Loss):
    def __call__(self, inputs: Any) -> Any:
        return LossOutput(-super().__call__(inputs).loss)


class Biased(Loss):
    def __call__(self, inputs: Any) -> Any:
        entropy = inputs.logprobs.masked_fill(~inputs.mask, 0.0).sum() / max(1, inputs.batch_tokens)
        return LossOutput(super().__call__(inputs).loss + 0.1 * entropy)


@pytest.mark.parametrize(
    ("build", "check"),
    [
        (Local, "the shares of micro batches add up"),
        (Local, "the gradient does not depend on micro batches"),
        (Unmasked, "padding changes nothing"),
        (Unmasked, "what stands in the padding does not matter"),
        (Upside, "an advantage raises the probability of its tokens"),
        (Biased, "without an advantage the policy gets no gradient"),
    ],
)
def test_a_losss_fault_is_found(build: Any, check: str) -> None:
    assert check in failed("loss", build, LossConfig)


def test_a_sound_loss_fails_nothing() -> None:
    assert failed("loss", Loss, LossConfig) == set()


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """A stage with a fault."""


class Stage:
    """Ten numbers that depend on the seed, added up; its subclasses have a fault each."""

    def __init__(self, config: StageConfig) -> None:
        self.total = 0.0

    def save(self, directory: Path) -> None:
        (directory / "total.json").write_text(json.dumps(self.total))

    def load(self, directory: Path) -> None:
        self.total = json.loads((directory / "total.json").read_text())

    def number(self, context: Any, step: int) -> float:
        return float((context.seed * (step + 1)) % 1000)

    def run(self, context: Any) -> StageResult:
        for step in context.steps(10, self):
            self.total += self.number(context, step)
            context.log({"total": self.total}, step)
        return StageResult(metrics={"total": self.total})


class Amnesic(Stage):
    def load(self, directory: Path) -> None:
        self.total = 0.0


class Dicing(Stage):
    def number(self, context: Any, step: int) -> float:
        return random.random()


class Littering(Stage):
    def run(self, context: Any) -> StageResult:
        Path("litter.txt").write_text("x")
        return super().run(context)


class Talking(Stage):
    def run(self, context: Any) -> StageResult:
        print("hello")
        return super().run(context)


@pytest.mark.parametrize(
    ("build", "check"),
    [
        (Amnesic, "killed and resumed it gives the same bytes"),
        (Dicing, "the same recipe gives the same bytes"),
        (Littering, "it writes only in its directory"),
        (Talking, "it prints nothing"),
    ],
)
def test_a_stages_fault_is_found(build: Any, check: str) -> None:
    assert check in failed("stage", build, StageConfig)


def test_a_sound_stage_fails_nothing() -> None:
    assert failed("stage", Stage, StageConfig) == set()


@dataclass(frozen=True, kw_only=True)
class TrackerConfig:
    """A tracker with a fault."""


class Fragile:
    """Fails on what is no number, and prints."""

    def __init__(self, config: TrackerConfig) -> None: ...

    def start(self, name: str, params: Mapping[str, object]) -> None:
        print(name.encode())

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if any(value != value for value in metrics.values()):
            raise ValueError("not a number")

    def artifact(self, path: Path) -> None: ...

    def finish(self, status: str) -> None: ...


def test_a_trackers_faults_are_found() -> None:
    assert {
        "hostile names of runs are taken",
        "hostile numbers are taken",
        "it prints nothing to standard output",
        "a whole run is sent and nothing reaches the trainer",
    } <= failed("tracker", Fragile, TrackerConfig)


def test_a_distribution_that_passes_ends_with_0_and_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "check", "brevity_reward"]) == 0
    output = capsys.readouterr().out
    assert "passed       reward brevity: it is found under its name" in output
    assert output.splitlines()[-1].startswith("brevity-reward 0.1.0: ")
    assert " 0 failed, " in output


def test_a_file_with_a_fault_ends_with_1_and_json_tells_which(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "moody.py"
    file.write_text(
        "import random\nfrom dataclasses import dataclass\nfrom ponder import Component, RewardConfig, hookimpl\n"
        '@dataclass(frozen=True, kw_only=True)\nclass MoodyConfig(RewardConfig):\n    """By mood."""\n'
        "class Moody:\n    def __init__(self, config): ...\n    def __call__(self, example, completion): return random.random()\n"
        '@hookimpl\ndef ponder_rewards():\n    yield Component("moody", MoodyConfig, Moody)\n'
    )
    assert main(["plugins", "check", "moody.py", "--plugin", str(file), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    (wrong,) = [check for check in told["checks"] if check["check"] == "the same call gives the same score"]
    assert (wrong["status"], wrong["kind"], wrong["name"]) == ("failed", "reward", "moody")
    assert "let the score depend on example and completion alone" in wrong["reason"]
    assert told["failed"] >= 1


def test_what_needs_a_file_that_is_not_there_is_not_checked_and_does_not_fail() -> None:
    registry = load_registry()
    results = list(checks_of(registry, registry.offer("task", "jsonl")))
    assert {result.status for result in results} == {"passed", "not checked"}
    assert any("its example's path problems.jsonl does not exist" in result.reason for result in results)


def test_a_file_of_the_example_is_used_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "problems.jsonl").write_text('{"prompt": "1 + 1 =", "answer": "2"}\n')
    monkeypatch.chdir(tmp_path)
    registry = load_registry()
    statuses = {
        result.check: (result.status, result.reason) for result in checks_of(registry, registry.offer("task", "jsonl"))
    }
    assert statuses["it is built from its options"] == ("passed", "")
    assert not {reason for status, reason in statuses.values() if status == "failed"}


FATAL = """
import os, time
from dataclasses import dataclass
from ponder import Component, RewardConfig, hookimpl

@dataclass(frozen=True, kw_only=True)
class Config(RewardConfig):
    \"""A reward.\"""

class Fatal:
    def __init__(self, config): {built}
    def __call__(self, example, completion): {called}

@hookimpl
def ponder_rewards():
    yield Component("fatal", Config, Fatal)
"""


def check_fatal(tmp_path: Path, seconds: float = 300, **does: str) -> tuple[dict[str, str], dict[str, str]]:
    """The checks that a reward which does this fails, and all others by how they ended."""
    file = tmp_path / "fatal.py"
    file.write_text(FATAL.format(**{"built": "...", "called": "...", **does}))
    results = check_distribution(load_registry([file]), "fatal.py", seconds=seconds).results
    assert [result.check for result in results] == [check.replace("_", " ")[5:] for check in check_names(RewardSuite)]
    failed = {result.check: result.reason for result in results if result.status == "failed"}
    return failed, {result.check: result.status for result in results if result.status != "failed"}


def test_a_check_whose_process_ends_is_a_finding_and_the_others_are_made(tmp_path: Path) -> None:
    failed, others = check_fatal(tmp_path, built="os._exit(3)")
    assert "it ended the process that it ran in (exit code 3)" in failed["it is built from its options"]
    assert others["its options cannot be changed"] == "passed"


def test_a_check_that_takes_too_long_is_a_finding_and_the_others_are_made(tmp_path: Path) -> None:
    failed, others = check_fatal(tmp_path, 0.5, built="time.sleep(1000)")
    assert "it had not ended after 0.5 s" in failed["it is built from its options"]
    assert others["its options cannot be changed"] == "passed"


@pytest.mark.parametrize(
    ("called", "told"), [("os._exit(3)", "exit code 3"), ("[None for _ in iter(int, 1)]", "1 s of processor time")]
)
def test_a_reward_that_does_not_come_back_is_one_finding(called: str, told: str, tmp_path: Path) -> None:
    failed, others = check_fatal(tmp_path, called=called)
    assert list(failed) == ["no call hangs or ends its process"]
    assert told in failed["no call hangs or ends its process"]
    assert others["the same call gives the same score"] == "not checked"


def test_a_plugin_that_does_not_load_fails_its_only_check() -> None:
    registry = Registry(broken={"acme-broken:broken": ModuleNotFoundError("No module named 'x'")})
    report = check_distribution(registry, "acme_broken")
    assert not report.is_sound
    assert "No module named 'x'" in report.results[0].reason


def test_checking_what_is_not_installed_suggests_a_name() -> None:
    with pytest.raises(InputError, match="no plugin 'nope' is installed"):
        check_distribution(Registry(), "nope")


def test_the_fixtures_of_the_pytest_plugin_run_a_recipe(run_recipe: Any, registry: Registry) -> None:
    from ponder.plugins import load_plugin_file

    text = """
        policies: {base: {type: toy}}
        stages: {first: {type: count, policy: base}}
    """
    stages = run_recipe(text, "stages.first.steps=2", plugins={"toy": load_plugin_file(TOY)})
    assert stages["first"].result.metrics["total"] > 0
    assert "accuracy" in registry.names("reward")
