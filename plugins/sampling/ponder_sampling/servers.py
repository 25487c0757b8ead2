"""The vLLM server that a sampler draws with: one that is there already, or one that lives as long as the sampler."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from ponder.errors import InputError, StageError
from ponder_sampling.server_requests import ServerAway, request
from ponder_sampling.vllm_options import VllmConfig

COMMAND_VARIABLE = "PONDER_VLLM_COMMAND"
"""The environment variable with the program and first arguments that start a server, in words as for a shell."""
_SECRET = ("_KEY", "_TOKEN", "_SECRET", "_PASSWORD")
_LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes for --max-lora-rank."""
_KEEPER = Path(__file__).with_name("server_keeper.py")
_LAST_LINES = 12
"""How many lines from the end of a log an error shows."""
_ERROR = re.compile(r"\b\w*(?:Error|Exception): \S.*")


class Server(Protocol):
    """What answers requests."""

    url: str

    def start(self, model: str, lora_rank: int) -> bool:
        """See that it runs; returns whether it was started just now, with the weights of `model`."""
        ...

    def revive(self, problem: ServerAway) -> None:
        """After an answer failed to come: wait until there may be one, or raise StageError when there is no hope."""
        ...

    def answered(self) -> None:
        """An answer came."""
        ...

    def close(self) -> None:
        """Leave nothing behind."""
        ...


def make_server(config: VllmConfig) -> Server:
    """The server that `config` speaks of; nothing is started or asked yet."""
    return GivenServer(config) if config.url else OwnServer(config)


def is_healthy(url: str, seconds: float = 5.0) -> bool:
    """Whether the server says that it can answer."""
    try:
        request(url, "GET", "/health", seconds=seconds)
    except (ServerAway, StageError):
        return False
    return True


class GivenServer:
    """A server that somebody else starts and stops, and brings back when it is gone."""

    def __init__(self, config: VllmConfig) -> None:
        self.url = str(config.url).rstrip("/").removesuffix("/v1")
        self._patience = config.patience_seconds
        self._away_since: float | None = None

    def start(self, model: str, lora_rank: int) -> bool:
        """See `Server`."""
        if not is_healthy(self.url):
            self.revive(ServerAway("it does not answer /health"))
        return False

    def revive(self, problem: ServerAway) -> None:
        """See `Server`."""
        now = time.monotonic()
        self._away_since = self._away_since or now
        for pause in _pauses():
            if time.monotonic() + pause > self._away_since + self._patience:
                raise StageError(
                    f"the vLLM server at {self.url} has given no answer for {self._patience:g} s (patience_seconds): {problem}; "
                    "start it again, and the same command goes on"
                )
            time.sleep(pause)
            if is_healthy(self.url):
                return

    def answered(self) -> None:
        """See `Server`."""
        self._away_since = None

    def close(self) -> None:
        """See `Server`."""


class OwnServer:
    """A server on a free port of this machine, which ends when this object, or the process that holds it, does."""

    def __init__(self, config: VllmConfig) -> None:
        self.url = ""
        self._config = config
        self._restarts = 0
        self._failures = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._end: weakref.finalize[..., Any] | None = None
        self._log: Path | None = None
        self._log_before = 0

    def start(self, model: str, lora_rank: int) -> bool:
        """See `Server`."""
        if self._process is not None and self._process.poll() is None:
            return False
        self.close()
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        with self._log_file().open("ab") as log:
            self._log_before = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_KEEPER), *_command(self._config, model, port, lora_rank)],
                env=_environment(self._config),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._end = weakref.finalize(self, _end, self._process, os.getpid())
        self._await_health()
        return True

    def revive(self, problem: ServerAway) -> None:
        """See `Server`."""
        self._failures += 1
        is_alive = self._process is not None and self._process.poll() is None
        if is_alive and self._failures <= 3 and is_healthy(self.url):
            time.sleep(self._failures)
            return
        if self._restarts >= self._config.restarts:
            raise StageError(
                f"the vLLM server has died or gone silent {self._restarts + 1} times ({problem}), and is started again at most "
                f"{self._config.restarts} times (restarts); {self._what_it_said()}"
            )
        self._restarts += 1
        self.close()

    def answered(self) -> None:
        """See `Server`."""
        self._failures = 0

    def close(self) -> None:
        """See `Server`."""
        if self._end is not None:
            self._end()
        self._process = None

    def _await_health(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + self._config.start_seconds
        for pause in _pauses():
            if self._process.poll() is not None:
                what = f"ended with status {self._process.returncode} while it started"
                break
            if is_healthy(self.url):
                return
            if time.monotonic() > deadline:
                what = f"was not ready after {self._config.start_seconds:g} s (start_seconds)"
                break
            time.sleep(pause)
        said = self._what_it_said()
        self.close()
        raise StageError(f"the vLLM server {what}; {said}")

    def _log_file(self) -> Path:
        if self._log is None:
            path = Path(tempfile.mkdtemp(prefix="ponder-vllm-log-"), "vllm.log")
            self._log = path
        return self._log

    def _what_it_said(self) -> str:
        with self._log_file().open("rb") as log:
            log.seek(self._log_before)
            words = log.read().decode(errors="replace")
        # What went wrong is told first, and then by everything that depended on it, at the length of a page each.
        first = _ERROR.search(words)
        cause = f", where the first error is {first[0]}, and" if first else ", which"
        ending = "\n".join(words.strip().splitlines()[-_LAST_LINES:])
        return f"its log is {self._log_file()}{cause} ends:\n{ending}"


def _pauses() -> Iterator[float]:
    pause = 0.05
    while True:
        yield pause
        pause = min(pause * 1.5, 5.0)


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() != owner:
        return
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _command(config: VllmConfig, model: str, port: int, lora_rank: int) -> list[str]:
    program = _program()
    # `vllm serve MODEL`; its older form, a module to be run, takes an option and would serve another model without.
    which = [model] if program[-1] == "serve" else ["--model", model]
    arguments: dict[str, Any] = {
        "served_model_name": "policy",
        "host": "127.0.0.1",
        "port": port,
        # At temperature 1, and for the likeliest tokens, the untruncated policy's are the raw ones.
        "logprobs_mode": "processed_logprobs" if config.temperature not in (0, 1) else "raw_logprobs",
    }
    if lora_rank:
        arguments["enable_lora"] = True
        arguments["max_lora_rank"] = next((rank for rank in _LORA_RANKS if rank >= lora_rank), lora_rank)
    return [*program, *which, *_as_arguments(arguments | config.engine)]


def _program() -> list[str]:
    """What starts a server: the user's word, never a recipe's."""
    program = shlex.split(os.environ.get(COMMAND_VARIABLE, ""))
    program = program or [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve"]
    return [str(Path(program[0]).expanduser()), *program[1:]]


def _as_arguments(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        flag = "--" + name.lstrip("-").replace("_", "-")
        if isinstance(value, bool):
            yield flag if value else flag.replace("--", "--no-", 1)
        elif value is not None:
            yield flag
            yield json.dumps(value) if isinstance(value, (dict, list)) else str(value)


def _environment(config: VllmConfig) -> dict[str, str]:
    """This process's, without what is secret or leads to its own modules, with what hands over weights needs."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().endswith(_SECRET)}
    for own in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        kept.pop(own, None)
    needed = {
        "VLLM_SERVER_DEV_MODE": "1",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    return {**kept, **needed, **config.environment}


def check_program(config: VllmConfig) -> None:
    """Refuse a program that is not there, before anything is computed."""
    if config.url is not None:
        return
    program = _program()[0]
    is_own = program == sys.executable and COMMAND_VARIABLE not in os.environ
    if (is_own and find_spec("vllm") is None) or shutil.which(program) is None:
        raise InputError(
            f"sampler vllm: {'vllm is not installed here' if is_own else f'there is no program {program}'}; give it a virtual environment "
            "of its own, as in `python -m venv ~/vllm && ~/vllm/bin/pip install vllm`, and say so: "
            f'`export {COMMAND_VARIABLE}="$HOME/vllm/bin/vllm serve"`'
        )
