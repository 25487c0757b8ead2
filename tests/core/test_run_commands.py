from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ponder.cli import main

PLUGIN = Path(__file__).parent.parent / "data" / "toy_plugin.py"

Ponder = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ponder(laboratory: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ponder:
    """Runs a command in a directory that holds toy.yaml, with the toy plugin and no other."""
    laboratory.recipe()
    monkeypatch.chdir(laboratory.directory)
    monkeypatch.setattr("ponder.plugins._entry_points", list)

    def run(*words: str) -> tuple[int, str, str]:
        code = main([*words, "--plugin", str(PLUGIN)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_run_ends_with_a_table_of_stages_and_metrics(ponder: Ponder) -> None:
    code, out, _ = ponder("run", "toy.yaml")

    assert code == 0
    table = out[out.index("┏") :]
    assert "first" in table and "count" in table and "total" in table and "answers 3" in table


def test_run_takes_overrides_and_another_place(ponder: Ponder, laboratory: Any) -> None:
    code, _, _ = ponder("run", "toy.yaml", "stages.second.answers=1", "--runs", "elsewhere")

    assert code == 0
    assert (laboratory.directory / "elsewhere" / "toy" / "second" / "answers.jsonl").read_text().count("\n") == 1


def test_run_until_a_stage(ponder: Ponder, laboratory: Any) -> None:
    ponder("run", "toy.yaml", "--until", "first")

    assert not (laboratory.runs / "toy" / "second").exists()


def test_run_with_json_prints_one_object_and_the_progress_elsewhere(ponder: Ponder) -> None:
    code, out, err = ponder("run", "toy.yaml", "--json")
    outcome = json.loads(out)

    assert code == 0
    assert outcome["stages"]["second"]["metrics"] == {"answers": 3}
    assert outcome["stages"]["second"]["cached"] is False
    assert "first: count" in err


def test_run_names_the_report(ponder: Ponder, laboratory: Any) -> None:
    laboratory.recipe_text += "  page: {type: report}\n"
    laboratory.recipe()
    _, out, _ = ponder("run", "toy.yaml")

    assert out.splitlines()[-1].startswith("report: ") and out.rstrip().endswith("runs/toy/page/report.html")


def test_a_failed_stage_ends_with_1_and_one_paragraph(ponder: Ponder, laboratory: Any) -> None:
    laboratory.recipe_text += "  last: {type: fail}\n"
    laboratory.recipe()
    code, _, err = ponder("run", "toy.yaml")

    assert code == 1
    assert err.startswith("ponder: stage 'last' (fail of toy_plugin.py ") and err.count("\n") == 1


def test_an_interrupted_run_ends_with_the_signals_code_and_the_same_command_ends_with_0(ponder: Ponder) -> None:
    command = ("run", "toy.yaml", "stages.first.signal_at=1")

    assert ponder(*command)[0] == 130
    assert ponder(*command)[0] == 0


def test_a_tracker_that_hangs_does_not_keep_the_process(laboratory: Any) -> None:
    laboratory.recipe_text = "tracker: {type: toy, fault: hang}\n" + laboratory.recipe_text
    laboratory.recipe()
    code = (
        "import atexit, sys, time; from ponder import cli, plugins, tracking; tracking.SECONDS_WITHOUT = 0.2; "
        "plugins._entry_points = lambda: []; atexit.register(time.sleep, 60); sys.exit(cli.main(sys.argv[1:]))"
    )
    words = ["run", "toy.yaml", "--plugin", str(PLUGIN)]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=laboratory.directory, timeout=50, capture_output=True, text=True
    )

    assert done.returncode == 0
    assert "events were not sent" in done.stdout and "answers 3" in done.stdout


def plan(ponder: Ponder, *words: str) -> dict[str, Any]:
    _, out, _ = ponder("plan", "toy.yaml", "--json", *words)
    return {stage["stage"]: stage for stage in json.loads(out)["stages"]}


def test_plan_shows_what_is_to_run_from_which_policy_and_the_arithmetic(ponder: Ponder) -> None:
    stages = plan(ponder)

    assert stages["first"]["cached"] is False
    assert stages["first"]["reason"] == "not made yet"
    assert stages["first"]["plan"] == "4 numbers"
    assert stages["second"]["policy"] == "base"


def test_plan_makes_nothing(ponder: Ponder, laboratory: Any) -> None:
    ponder("plan", "toy.yaml")

    assert not laboratory.runs.exists()


def test_plan_tells_why_a_stage_is_to_run_again(ponder: Ponder) -> None:
    ponder("run", "toy.yaml")
    assert all(stage["cached"] for stage in plan(ponder).values())
    stages = plan(ponder, "stages.first.steps=9")

    assert stages["first"]["reason"] == "changed: options.steps: 4 -> 9"
    assert stages["second"]["reason"] == "changed: stages.first"


def test_plan_tells_that_a_stage_was_interrupted(ponder: Ponder) -> None:
    ponder("run", "toy.yaml", "stages.first.signal_at=1")

    assert plan(ponder, "stages.first.signal_at=1")["first"]["reason"] == "was interrupted; continues"


def test_plan_prints_a_table(ponder: Ponder) -> None:
    code, out, _ = ponder("plan", "toy.yaml")

    assert code == 0
    assert "to run" in out and "not made yet; 4 numbers" in out


def test_report_prints_where_the_page_of_the_run_is(ponder: Ponder, laboratory: Any) -> None:
    laboratory.recipe_text += "  page: {type: report}\n"
    laboratory.recipe()
    ponder("run", "toy.yaml")
    page = (laboratory.runs / "toy" / "page").resolve() / "report.html"

    assert ponder("report", "runs/toy")[1].strip() == str(page)
    assert ponder("report", "toy.yaml")[1].strip() == str(page)


def test_report_makes_a_page_when_the_run_has_none(ponder: Ponder, laboratory: Any) -> None:
    ponder("run", "toy.yaml")
    code, out, _ = ponder("report", "runs/toy")

    assert code == 0
    assert Path(out.strip()) == laboratory.runs / "toy" / "report.html"
    assert [line.split()[0] for line in Path(out.strip()).read_text().splitlines()] == ["first", "second"]
    assert not (laboratory.runs / "toy" / ".work-report").exists()


def test_report_of_what_never_ran_says_how_to_run_it(ponder: Ponder) -> None:
    code, _, err = ponder("report", "toy.yaml")

    assert code == 2
    assert "`ponder run toy.yaml` makes it" in err


def test_chat_answers_once_from_a_finished_stage(ponder: Ponder) -> None:
    ponder("run", "toy.yaml")
    code, out, _ = ponder("chat", "runs/toy/first", "--once", "1+1?", "temperature=0.25")

    assert code == 0
    assert out.splitlines()[0] == "It says User: 1+1? Assistant:"
    assert out.splitlines()[1].endswith(" at 0.25")


def test_chat_knows_the_policy_that_the_stage_made(ponder: Ponder, laboratory: Any) -> None:
    ponder("run", "toy.yaml")
    total = json.loads((laboratory.runs / "toy" / "first" / "result.json").read_text())["metrics"]["total"]
    made = (laboratory.runs / "toy" / "first").resolve()

    for policy in ("runs/toy/first", str(made), "toy.yaml:first"):
        assert ponder("chat", policy, "--once", "?")[1].splitlines()[-1] == f"{total:.3f} at 0.6"


def test_chat_with_a_policy_of_the_recipe_as_it_begins(ponder: Ponder) -> None:
    assert ponder("chat", "toy.yaml:base", "--once", "?")[0] == 0


def test_chat_reads_a_question_a_line_until_the_end(ponder: Ponder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one?\n\ntwo?\n"))
    _, out, _ = ponder("chat", "toy.yaml:base")

    assert out.count("It says") == 2


def test_chat_says_that_an_answer_was_cut_off(ponder: Ponder) -> None:
    _, out, _ = ponder("chat", "toy.yaml:base", "--once", "?", "max_new_tokens=2")

    assert out.rstrip().endswith("(cut off at max_new_tokens)")


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        ("runs/toy/second", "stage 'second' made no policy"),
        ("runs/toy/absent", "no such directory"),
        ("toy.yaml:absent", "no finished stage is here"),
        ("runs", "no finished stage is here"),
    ],
)
def test_chat_explains_what_cannot_be_asked(ponder: Ponder, policy: str, text: str) -> None:
    ponder("run", "toy.yaml")
    code, _, err = ponder("chat", policy, "--once", "?")

    assert code == 2
    assert text in err


def test_chat_explains_a_wrong_option(ponder: Ponder) -> None:
    code, _, err = ponder("chat", "toy.yaml:base", "--once", "?", "temprature=1")

    assert code == 2
    assert "did you mean 'temperature'" in err
