"""The command line: verbs, exit codes, what is printed where, and how fast it answers."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ponder import cli
from ponder.errors import BusyError, InputError, Interrupted, StageError, StorageError

DATA = Path(__file__).parent.parent / "data"
PLUGIN = str(DATA / "recipe_plugin.py")
GOOD = "name: good\nstages: {one: {type: tell}, two: {type: tell}}\n"

Fail = Callable[[BaseException], int]


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing that a test does to the environment or the working directory outlives it."""
    for name in [*cli._QUIET, "PONDER_TRACEBACK", "PONDER_DISABLE_PLUGINS"]:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    file = tmp_path / "good.yaml"
    file.write_text(GOOD)
    return str(file)


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch, recipe: str) -> Fail:
    """Run `validate` with a command that raises."""

    def run(error: BaseException) -> int:
        def command(arguments: argparse.Namespace) -> int:
            raise error

        monkeypatch.setattr("ponder.commands.validate.command", command)
        return cli.main(["validate", recipe])

    return run


def ponder(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """The program in a process of its own."""
    command = [sys.executable, "-m", "ponder", *arguments]
    return subprocess.run(command, capture_output=True, env={**os.environ, **environment}, check=False)


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    output = capsys.readouterr().out
    assert all(f"    {verb} " in output for verb in cli.VERBS)


def test_the_version_is_the_distributions(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("ponder 0.")


@pytest.mark.parametrize(
    "arguments", [[], ["dance"], ["validate"], ["plugins", "show", "dance", "x"], ["plugins", "--x"]]
)
def test_a_wrong_command_line_ends_with_2(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert "usage: ponder" in capsys.readouterr().err


def test_a_valid_recipe_is_said_to_be(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["validate", recipe, "--plugin", PLUGIN]) == 0
    assert capsys.readouterr().out == f"{recipe}: recipe 'good' is valid: 2 stages (one, two)\n"


def test_a_valid_recipe_is_json_for_scripts(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["validate", recipe, "--plugin", PLUGIN, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"valid": True, "name": "good", "stages": ["one", "two"]}


def test_overrides_may_stand_after_options(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["validate", recipe, "seed=1", "--plugin", PLUGIN, "name=other"]) == 0
    assert "recipe 'other' is valid" in capsys.readouterr().out


def test_the_problems_of_a_recipe_go_to_stderr_with_exit_code_2(
    recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["validate", recipe, "--plugin", PLUGIN, "stages.one.x=1", "stages.two.y=1"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        f"ponder: {recipe}: 2 problems",
        "override stages.one.x: no such option; known: stages.",
        "override stages.two.y: no such option; known: stages.",
    ]


def test_the_problems_of_a_recipe_are_json_for_scripts(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["validate", recipe, "--plugin", PLUGIN, "--json", "stages.one.x=1"]) == 2
    expected = ["override stages.one.x: no such option; known: stages."]
    assert json.loads(capsys.readouterr().out) == {"valid": False, "problems": expected}


def test_a_missing_recipe_is_an_input_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["validate", "nope.yaml"]) == 2
    assert capsys.readouterr().err == "ponder: nope.yaml: no such file; give the path of a recipe\n"


def test_plugins_lists_components_with_where_they_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plugins", "--plugin", PLUGIN]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["kind", "name", "distribution", "version"]
    assert any(line.split()[:3] == ["sampler", "draw", "recipe_plugin.py"] for line in lines)
    assert any(line.endswith("A toy sampler.") for line in lines)


def test_plugins_list_puts_broken_plugins_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "bad.py"
    broken.write_text("import nothing_of_the_kind")
    assert cli.main(["plugins", "list", "--plugin", str(broken)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"broken: {broken}: ModuleNotFoundError: No module named 'nothing_of_the_kind' ({broken}:1)"


def test_plugins_list_is_json_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plugins", "list", "--json", "--plugin", PLUGIN]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert set(listed) == {"components", "broken", "conflicts", "left_out", "not_installed"}
    (draw,) = [row for row in listed["components"] if row["name"] == "draw"]
    assert (draw["kind"], draw["distribution"], draw["text"]) == ("sampler", "recipe_plugin.py", "A toy sampler.")


def test_options_may_stand_before_the_action(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plugins", "--plugin", PLUGIN, "--json", "show", "sampler", "draw"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "draw"


def test_plugins_show_gives_options_types_defaults_and_texts(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plugins", "show", "stage", "train", "--plugin", PLUGIN]) == 0
    output = capsys.readouterr().out
    assert output.startswith("stage train (from recipe_plugin.py ")
    assert "  policy: policy or stage (required)\n      What it trains.\n" in output
    assert "  group_size: int (default 8)\n      Completions per problem.\n" in output


def test_plugins_show_ends_with_an_example_that_is_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plugins", "show", "reward", "brevity"]) == 0
    _, _, example = capsys.readouterr().out.partition("example, a whole recipe:\n\n")
    (tmp_path / "shown.yaml").write_text(textwrap.dedent(example))
    assert "brevity: {type: brevity}" in example
    assert cli.main(["validate", str(tmp_path / "shown.yaml")]) == 0


def test_plugins_show_of_what_nobody_offers_suggests_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plugins", "show", "stage", "trane", "--plugin", PLUGIN]) == 2
    assert "no stage 'trane' is installed; did you mean 'train'?" in capsys.readouterr().err


def test_plugins_docs_writes_the_reference_and_names_what_is_stale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ponder.plugins._entry_points", list)
    docs = ["plugins", "docs", str(tmp_path), "--plugin", PLUGIN]
    assert cli.main([*docs, "--check"]) == 1
    assert "stage/train.md" in capsys.readouterr().out
    assert cli.main(docs) == 0
    assert (tmp_path / "stage" / "train.md").read_text().startswith("# stage `train`")
    assert cli.main([*docs, "--check"]) == 0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StageError("it broke"), 1),
        (InputError("it broke"), 2),
        (StorageError("it broke"), 74),
        (BusyError("it broke"), 75),
        (Interrupted(2, "it broke"), 130),
        (Interrupted(15, "it broke"), 143),
    ],
)
def test_an_error_for_users_is_one_paragraph_and_its_exit_code(
    fail: Fail, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    assert fail(error) == code
    assert capsys.readouterr().err == "ponder: it broke\n"


def test_ctrl_c_ends_with_130(fail: Fail, capsys: pytest.CaptureFixture[str]) -> None:
    assert fail(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "ponder: interrupted\n"


def test_a_bug_is_named_and_its_traceback_kept(fail: Fail, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert fail(KeyError("lost")) == 1
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert text.startswith(
        "ponder: this is a bug in ponder or in a plugin, not in what you typed: KeyError: 'lost' (test_cli.py:"
    )
    assert "The traceback is in runs/ponder-crash.log" in text
    assert "Traceback (most recent call last)" in (tmp_path / "runs" / "ponder-crash.log").read_text()


def test_a_bugs_traceback_is_printed_on_request(
    fail: Fail, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PONDER_TRACEBACK", "1")
    assert fail(KeyError("lost")) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_bug_is_named_also_where_nothing_can_be_written(
    fail: Fail, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "runs").write_text("in the way")
    assert fail(KeyError("lost")) == 1
    assert "Set PONDER_TRACEBACK=1 to see the traceback" in capsys.readouterr().err


def test_secrets_stay_out_of_errors_and_crash_logs(
    fail: Fail, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fail(RuntimeError("no access with hf_abcdefghijklmnop to https://me:hunter2@host"))
    text = capsys.readouterr().err + (tmp_path / "runs" / "ponder-crash.log").read_text()
    assert "hf_abc" not in text
    assert "hunter2" not in text


def test_telemetry_is_off_unless_the_user_says_otherwise(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    cli.main(["validate", recipe])
    assert (os.environ["HF_HUB_DISABLE_TELEMETRY"], os.environ["DO_NOT_TRACK"]) == ("1", "0")


def test_a_reader_that_leaves_early_ends_the_program_quietly() -> None:
    program = f"{sys.executable} -m ponder schema --plugin {PLUGIN} | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", program], capture_output=True, check=True, text=True)
    assert (done.stdout[0], done.stderr) == ("{", "")
    assert done.stdout[1:].strip() in ("0", "141")


def test_a_stream_that_cannot_encode_a_character_does_not_end_the_program(tmp_path: Path) -> None:
    file = tmp_path / "chinese.py"
    file.write_text(Path(PLUGIN).read_text().replace("A toy sampler.", "中文"), encoding="utf-8")
    ascii_only = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = ponder("plugins", "--plugin", str(file), **ascii_only)
    assert done.returncode == 0
    assert rb"\u4e2d\u6587" in done.stdout


def test_python_m_ponder_is_the_same_program() -> None:
    done = ponder("--version")
    assert (done.returncode, done.stdout[:9]) == (0, b"ponder 0.")


def test_help_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'transformers', 'omegaconf', 'rich', 'yaml', 'mlflow', 'importlib.metadata'}"
    program = f"import sys; from ponder.cli import main; main(['--help']); assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)


@pytest.mark.parametrize(
    ("arguments", "limit"), [(["--help"], 0.3), (["plugins"], 1.0), (["validate", "nope.yaml"], 1.0)]
)
def test_an_answer_takes_no_longer_than_promised(arguments: Sequence[str], limit: float) -> None:
    # CPU seconds, the best of three: what else the machine does is no fault of the program.
    program = "import sys, time; from ponder.cli import main; main(sys.argv[1:]); sys.stderr.write(f'\\n{time.process_time()}')"
    command = [sys.executable, "-c", program, *arguments]
    runs = [subprocess.run(command, capture_output=True, check=True, text=True) for _ in range(3)]
    assert min(float(run.stderr.splitlines()[-1]) for run in runs) < limit
