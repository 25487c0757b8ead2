"""The command line: `ponder VERB ...`. Each verb lives in `ponder.commands`; here they are listed and their errors shown."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ponder.errors import PonderError
from ponder.suggestions import redacted

VERBS: Final = ("run", "validate", "plan", "doctor", "score", "plugins", "new", "schema", "report", "chat", "export")

_KEY_VALUE: Final = ("overrides", "options")
"""What verbs call their list of KEY=VALUE arguments."""

CRASH_LOG: Final = "ponder-crash.log"

_INTERRUPTED = 130
_BROKEN_PIPE = 141
_BUG = 1

_QUIET: Final = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TQDM_DISABLE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
"""Telemetry and progress bars of the libraries that plugins use, off unless the user says otherwise: progress is ours to show."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    _never_fail_to_print()
    try:
        arguments = _parsed(argv)
    except SystemExit as end:
        return int(end.code or 0)
    return _guarded(arguments)


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    top = parser()
    arguments, rest = top.parse_known_args(argv)
    # argparse gives up on KEY=VALUE after an option; they belong to the verb's list of them wherever they stand.
    taker = next((name for name in _KEY_VALUE if hasattr(arguments, name)), None)
    if rest and (taker is None or any(word.startswith("-") for word in rest)):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest and taker is not None:
        setattr(arguments, taker, [*getattr(arguments, taker), *rest])
    return arguments


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="ponder", description="The DeepSeek-R1 recipe as plugins: recipes in YAML, run, resumed, reported."
    )
    top.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    subparsers = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for verb in VERBS:
        importlib.import_module(f"ponder.commands.{verb}").add_parser(subparsers)
    return top


class _Version(argparse.Action):
    """Looks the version up only when it is asked for: reading a distribution's metadata is slow."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        sys.stdout.write(f"ponder {version('ponder')}\n")
        parser.exit()


def _guarded(arguments: argparse.Namespace) -> int:
    try:
        code = int(arguments.command(arguments))
        sys.stdout.flush()
    except PonderError as error:
        _complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _complain("interrupted")
        return _INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return _BROKEN_PIPE
    except Exception as error:
        _report_bug(error, getattr(arguments, "runs", Path("runs")))
        return _BUG
    return code


def _complain(text: str) -> None:
    sys.stderr.write(f"ponder: {redacted(text)}\n")


def _report_bug(error: Exception, runs: Path) -> None:
    where = traceback.extract_tb(error.__traceback__)[-1]
    what = f"{type(error).__name__}: {str(error) or 'no message'}".splitlines()[0]
    text = redacted("".join(traceback.format_exception(error)))
    if os.environ.get("PONDER_TRACEBACK"):
        sys.stderr.write(text)
    _complain(
        f"this is a bug in ponder or in a plugin, not in what you typed: {what} ({Path(where.filename).name}:{where.lineno}). "
        f"{_kept(text, runs)}; please report it with the recipe"
    )


def _kept(text: str, runs: Path) -> str:
    try:
        runs.mkdir(parents=True, exist_ok=True)
        (runs / CRASH_LOG).write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError:
        return "Set PONDER_TRACEBACK=1 to see the traceback"
    return f"The traceback is in {runs / CRASH_LOG}"


def _never_fail_to_print() -> None:
    """Have streams replace what their encoding lacks: a run must not end because of a Chinese character."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    # The reader is gone; without this, the interpreter's own flush at exit complains.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
