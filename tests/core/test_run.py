from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from ponder.context import FinishedStage
from ponder.errors import BusyError, InputError, StageError, StorageError
from ponder.lock import DirectoryLock


def with_failing_stage(laboratory: Any, how: str) -> Any:
    laboratory.recipe_text += f"  last: {{type: fail, how: {how}}}\n"
    return laboratory


def test_stages_run_in_order_and_are_linked_under_the_recipe(laboratory: Any) -> None:
    outcome = laboratory.run()

    assert [stage.name for stage in outcome.stages] == ["first", "second"]
    assert (laboratory.runs / "toy" / "second").resolve() == outcome.stages[1].directory
    assert laboratory.steps() == ["first 0", "first 1", "first 2", "first 3", "second 0", "second 1", "second 2"]


def test_links_are_relative_so_that_the_runs_can_be_moved(laboratory: Any) -> None:
    laboratory.run()

    assert not (laboratory.runs / "toy" / "first").readlink().is_absolute()


def test_a_second_run_does_nothing(laboratory: Any) -> None:
    laboratory.run()
    outcome = laboratory.run()

    assert laboratory.events == []
    assert outcome.cached == {"first", "second"}


def test_two_runs_elsewhere_give_the_same_bytes(laboratory: Any, another_laboratory: Any) -> None:
    laboratory.run()
    another_laboratory.run()

    assert laboratory.outputs() == another_laboratory.outputs()


def test_a_changed_option_runs_the_stage_and_what_depends_on_it(laboratory: Any) -> None:
    laboratory.run()
    laboratory.run("stages.second.answers=4")

    assert laboratory.steps() == ["second 0", "second 1", "second 2", "second 3"]


def test_going_back_to_an_earlier_setting_is_free(laboratory: Any) -> None:
    before = laboratory.run()
    laboratory.run("stages.first.scale=2")
    after = laboratory.run()

    assert laboratory.steps() == []
    assert (laboratory.runs / "toy" / "first").resolve() == before.stages[0].directory
    assert after.stages == before.stages


def test_until_leaves_out_later_stages(laboratory: Any) -> None:
    outcome = laboratory.run(until="first")

    assert [stage.name for stage in outcome.stages] == ["first"]


def test_until_an_unknown_stage_suggests_the_nearest(laboratory: Any) -> None:
    with pytest.raises(InputError, match="did you mean 'second'"):
        laboratory.run(until="secnd")


def test_the_result_holds_paths_metrics_and_parents_and_no_time(laboratory: Any) -> None:
    outcome = laboratory.run()
    result = json.loads((laboratory.runs / "toy" / "second" / "result.json").read_text())

    assert result == {
        "stage": "second",
        "type": "collect",
        "policy": None,
        "task": "answers.jsonl",
        "metrics": {"answers": 3},
        "fingerprint": outcome.stages[1].fingerprint,
        "parents": {"first": outcome.stages[0].fingerprint},
    }


def test_metrics_have_a_line_per_step_with_null_for_what_is_not_finite(laboratory: Any) -> None:
    laboratory.run()
    lines = (laboratory.runs / "toy" / "first" / "metrics.jsonl").read_text().splitlines()

    assert [json.loads(line).get("step") for line in lines] == [None, 0, 1, 2, 3]
    assert '"odd": null' in lines[2]


def test_the_clock_reaches_no_file_but_the_timings(laboratory: Any) -> None:
    laboratory.run()
    timings = [json.loads(line) for line in (laboratory.runs / "toy" / "first" / "timings.jsonl").open()]

    assert "started" in timings[0] and "finished" in timings[-1]
    assert "timings.jsonl" not in json.loads((laboratory.runs / "toy" / "first" / "manifest.json").read_text())["files"]


def test_a_damaged_result_is_made_again_and_the_reason_said(laboratory: Any) -> None:
    laboratory.run()
    expected = laboratory.outputs()
    (laboratory.runs / "toy" / "second" / "answers.jsonl").write_text("tampered\n")
    laboratory.run()

    assert laboratory.steps() == ["second 0", "second 1", "second 2"]
    assert "what is stored is damaged (answers.jsonl has 9 bytes" in laboratory.output
    assert laboratory.outputs() == expected


def test_a_stage_starts_with_what_its_options_say_about_its_plan(laboratory: Any) -> None:
    laboratory.run()

    assert "  4 numbers" in laboratory.output.splitlines()


def test_plugins_are_told_when_stages_start_and_finish(laboratory: Any) -> None:
    laboratory.run(until="first")

    assert laboratory.events[0] == "started first"
    assert laboratory.events[-1] == "finished first"


def test_a_watching_plugin_that_raises_does_not_stop_the_run(laboratory: Any) -> None:
    from ponder import hookimpl

    class Watcher:
        @hookimpl
        def ponder_stage_finished(self, context: Any, result: Any) -> None:
            raise RuntimeError("no room in the log book")

    laboratory.registry.register(Watcher(), "watcher")
    laboratory.run(until="first")

    assert "no room in the log book; the run goes on" in laboratory.output


def test_an_error_for_users_passes_as_it_is_and_earlier_stages_stay(laboratory: Any) -> None:
    with pytest.raises(InputError, match=r"^data\.jsonl:3: not JSON$"):
        with_failing_stage(laboratory, "input").run()

    assert (laboratory.runs / "toy" / "second" / "result.json").exists()


def test_an_unexpected_error_names_stage_plugin_error_and_traceback_file(laboratory: Any) -> None:
    with pytest.raises(StageError) as caught:
        with_failing_stage(laboratory, "value").run()
    file = laboratory.runs / "toy" / "last.traceback.txt"

    text = str(caught.value)
    assert "stage 'last' (fail of ponder-toy 1) failed: ValueError: the third number is not prime" in text
    assert str(file) in text
    assert "Traceback (most recent call last)" in file.read_text()


def test_the_traceback_file_goes_when_the_stage_succeeds(laboratory: Any) -> None:
    with pytest.raises(StageError):
        with_failing_stage(laboratory, "value").run()
    laboratory.recipe_text = laboratory.recipe_text.replace("type: fail, how: value", "type: report")
    laboratory.run()

    assert not (laboratory.runs / "toy" / "last.traceback.txt").exists()


def test_a_stage_that_exits_does_not_look_like_success(laboratory: Any) -> None:
    with pytest.raises(StageError, match="SystemExit"):
        with_failing_stage(laboratory, "exit").run()


def test_a_stage_that_returns_no_result_is_named(laboratory: Any) -> None:
    with pytest.raises(StageError, match="'last' returned NoneType, not a StageResult"):
        with_failing_stage(laboratory, "nothing").run()


def test_a_result_outside_the_directory_is_refused(laboratory: Any) -> None:
    with pytest.raises(StageError, match="which is not in its directory"):
        with_failing_stage(laboratory, "outside").run()


@pytest.mark.parametrize("how", ["full", "safetensors"])
def test_no_space_inside_a_stage_says_what_where_and_what_is_kept(laboratory: Any, how: str) -> None:
    with pytest.raises(StorageError) as caught:
        with_failing_stage(laboratory, how).run()

    text = str(caught.value)
    assert "while stage last was running: No space left on device" in text
    assert "Kept are the finished stages (first, second)" in text
    assert "the same command continues" in text
    assert caught.value.exit_code == 74


def test_no_access_where_the_run_writes_is_a_storage_error(laboratory: Any) -> None:
    with pytest.raises(StorageError, match="Make the directory writable"):
        with_failing_stage(laboratory, "forbidden").run()


def test_no_access_to_a_stages_own_input_is_a_stage_error(laboratory: Any) -> None:
    with pytest.raises(StageError, match="PermissionError"):
        with_failing_stage(laboratory, "'forbidden elsewhere'").run()


def test_a_run_directory_in_use_ends_with_75_and_leaves_everything_alone(laboratory: Any) -> None:
    with DirectoryLock(laboratory.runs / "toy"), pytest.raises(BusyError, match="in use by process"):
        laboratory.run()

    assert laboratory.events == []


def test_a_stage_that_another_recipe_is_making_ends_with_75(laboratory: Any) -> None:
    from ponder.planning import plan_recipe
    from ponder.store import Store

    store = Store(laboratory.runs)
    fingerprint = plan_recipe(laboratory.recipe(), laboratory.registry, store)[0].identity.fingerprint
    with store.open_workspace(fingerprint), pytest.raises(BusyError):
        laboratory.run()


def test_recipes_share_stages_that_are_the_same(laboratory: Any) -> None:
    laboratory.run()
    outcome = laboratory.run("name=twin")

    assert outcome.cached == {"first", "second"}
    assert (laboratory.runs / "twin" / "first").resolve() == (laboratory.runs / "toy" / "first").resolve()


def test_the_report_of_the_last_stage_that_made_one_is_the_runs(laboratory: Any) -> None:
    laboratory.recipe_text += "  page: {type: report}\n"
    outcome = laboratory.run()

    assert isinstance(outcome.stages[-1], FinishedStage)
    assert outcome.report == outcome.directory / outcome.stages[-1].name / "report.html"
    assert outcome.report.read_text().splitlines()[1] == "second {'answers': 3}"


def test_running_needs_no_torch(laboratory: Any) -> None:
    import subprocess

    code = "import sys, ponder.run, ponder.summary, ponder.commands.chat; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
