from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ponder.context import StageContext, Surroundings
from ponder.errors import InputError, StageError
from ponder.progress import Display
from ponder.randomness import derive_seed
from ponder.signals import StopSignals
from ponder.store import Store, stages_in
from ponder.tracking import NullTracker

RECIPE = """
name: toy
seed: 5
policies:
  base: {type: toy, value: 2.0}
  teacher: {type: toy, value: 50.0}
rewards:
  same: {type: same, weight: 0.5}
stages:
  first: {type: count, policy: base}
  again: {type: count, policy: first}
  second: {type: collect, policy: again}
  page: {type: report}
"""


@pytest.fixture
def laboratory(laboratory: Any) -> Any:
    laboratory.recipe_text = RECIPE
    return laboratory


@pytest.fixture
def context(laboratory: Any) -> Iterator[StageContext]:
    """The context of the stage `page`, with all others finished."""
    laboratory.run(until="second")
    with opened(laboratory) as context:
        yield context


@contextmanager
def opened(laboratory: Any, *, finished: bool = True) -> Iterator[StageContext]:
    recipe = laboratory.recipe()
    run = Surroundings(recipe, laboratory.registry, NullTracker(), Display(laboratory.screen), StopSignals())
    stages = {stage.name: stage for stage in stages_in(laboratory.runs / "toy")} if finished else {}
    with (
        Store(laboratory.runs).open_workspace("f" * 32) as workspace,
        StageContext(recipe.stages["page"], run, workspace, stages) as context,
    ):
        yield context


class State:
    """Counts what was done, and can be told to fail."""

    def __init__(self) -> None:
        self.done = 0

    def save(self, directory: Any) -> None:
        (directory / "done").write_text(str(self.done))

    def load(self, directory: Any) -> None:
        self.done = int((directory / "done").read_text())


def interrupted(laboratory: Any, at: int, *, every: int = 1) -> None:
    """Run a loop of five steps, logging each, that dies in step `at`."""
    with opened(laboratory, finished=False) as context, pytest.raises(RuntimeError):
        context.log({"begun": 1})
        state = State()
        for step in context.steps(5, state, checkpoint_every=every):
            context.log({"value": step}, step)
            if step == at:
                raise RuntimeError
            state.done += 1


def test_the_seed_depends_on_the_run_and_the_stage(context: StageContext) -> None:
    assert context.seed == derive_seed(5, "page")


def test_a_policies_entry_is_built_from_its_own_seed(context: StageContext) -> None:
    assert context.policy("base").value == 2.0 + derive_seed(5, "base") % 7  # type: ignore[attr-defined]


def test_each_call_gives_a_fresh_policy(context: StageContext) -> None:
    assert context.policy("base") is not context.policy("base")


def test_a_stages_policy_belongs_to_the_entry_it_descends_from(context: StageContext) -> None:
    policy = context.policy("again")

    assert type(policy).__name__ == "ToyPolicy"
    assert policy.value == context.stage("again").result.metrics["total"]  # type: ignore[attr-defined]


def test_a_stages_data_is_read_by_the_installed_jsonl_task(context: StageContext) -> None:
    assert [str(example.prompt)[:8] for example in context.task("second").examples()] == [
        "answer 0",
        "answer 1",
        "answer 2",
    ]


def test_a_stage_that_made_no_policy_is_named(context: StageContext) -> None:
    with pytest.raises(InputError, match="stage 'second' made no policy"):
        context.policy("second")


def test_a_stage_that_made_no_data_is_named(context: StageContext) -> None:
    with pytest.raises(InputError, match="stage 'first' made no task"):
        context.task("first")


def test_an_earlier_stage_shows_its_options_and_metrics(context: StageContext) -> None:
    stage = context.stage("first")

    assert stage.options["steps"] == 4
    assert stage.directory.joinpath("metrics.jsonl").exists()


def test_a_stage_that_has_not_run_is_named_with_those_that_have(context: StageContext) -> None:
    with pytest.raises(InputError, match=r"'later'.*have: first, again, second"):
        context.stage("later")


@pytest.mark.parametrize(
    ("ask", "kind"), [(StageContext.sampler, "sampler"), (StageContext.loss, "loss"), (StageContext.policy, "policy")]
)
def test_an_unknown_name_is_an_input_error(context: StageContext, ask: Callable[..., object], kind: str) -> None:
    with pytest.raises(InputError, match=f"no {kind}.*'absent'"):
        ask(context, "absent")


def test_a_rubric_has_the_recipes_weights(context: StageContext) -> None:
    from ponder.types import Completion, Example, Rollout

    rubric = context.rubric(["same"])
    scores = rubric.score([Rollout(Example("1+1?"), Completion("2"), 0)])

    assert scores[0].total == 0.5


def test_a_loop_yields_every_step_once(laboratory: Any) -> None:
    with opened(laboratory, finished=False) as context:
        assert list(context.steps(3)) == [0, 1, 2]


def test_a_loop_of_no_steps_ends_at_once(laboratory: Any) -> None:
    with opened(laboratory, finished=False) as context:
        assert list(context.steps(0, State())) == []


def test_a_resumed_loop_starts_after_its_checkpoint_and_says_so(laboratory: Any) -> None:
    interrupted(laboratory, at=3)
    with opened(laboratory, finished=False) as context:
        state = State()
        assert list(context.steps(5, state)) == [3, 4]
        assert state.done == 3
    assert "resumed stage page at step 3 of 5" in laboratory.output


def test_lines_logged_after_the_checkpoint_are_dropped(laboratory: Any) -> None:
    interrupted(laboratory, at=4, every=2)
    with opened(laboratory, finished=False) as context:
        context.log({"begun": 1})
        for step in context.steps(5, State(), checkpoint_every=2):
            context.log({"value": step}, step)
        context.log({"ended": 1})
        text = (context.directory / "metrics.jsonl").read_text()

    values = [f'{{"step": {step}, "value": {step}}}' for step in range(5)]
    assert text.splitlines() == ['{"begun": 1}', *values, '{"ended": 1}']


def test_without_a_state_a_loop_starts_at_0_and_its_log_anew(laboratory: Any) -> None:
    for _ in range(2):
        with opened(laboratory, finished=False) as context:
            for step in context.steps(2):
                context.log({"value": step}, step)
            text = (context.directory / "metrics.jsonl").read_text()

    assert len(text.splitlines()) == 2


def test_a_process_that_dies_before_its_loop_loses_nothing_of_the_one_before(laboratory: Any) -> None:
    interrupted(laboratory, at=3)
    with opened(laboratory, finished=False) as context:
        context.log({"begun": 1})
    with opened(laboratory, finished=False) as context:
        assert list(context.steps(5, State())) == [3, 4]


def test_a_log_that_was_changed_under_a_checkpoint_sends_it_back_further(laboratory: Any) -> None:
    interrupted(laboratory, at=3)
    with opened(laboratory, finished=False) as context:
        path = context.directory / "metrics.jsonl"
        path.write_text(path.read_text().replace('"value": 2', '"value": 7'))
        assert list(context.steps(5, State())) == [2, 3, 4]


def test_a_finished_loop_is_not_repeated_when_the_stage_fails_after_it(laboratory: Any) -> None:
    with opened(laboratory, finished=False) as context:
        list(context.steps(5, State(), checkpoint_every=100))
    with opened(laboratory, finished=False) as context:
        assert list(context.steps(5, State())) == []


def test_checkpoints_are_committed_by_the_clock_when_no_number_of_steps_is_given(
    laboratory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ponder.steps.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    with opened(laboratory, finished=False) as context, pytest.raises(RuntimeError):
        for step in context.steps(5, State()):
            if step == 3:
                raise RuntimeError
    with opened(laboratory, finished=False) as context:
        assert list(context.steps(5, State())) == [3, 4]


def test_a_second_loop_with_a_state_is_refused(laboratory: Any) -> None:
    with opened(laboratory, finished=False) as context:
        list(context.steps(1, State()))
        with pytest.raises(StageError, match="one such loop"):
            list(context.steps(1, State()))


def test_a_journal_survives_the_process_and_is_not_published(laboratory: Any) -> None:
    with opened(laboratory, finished=False) as context:
        context.journal().append("step 0", [1, 2])
    with opened(laboratory, finished=False) as context:
        assert context.journal().get("step 0") == [1, 2]
        assert {path.name for path in context.directory.iterdir()} == {"metrics.jsonl", "timings.jsonl"}
