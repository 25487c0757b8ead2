"""What a confined process can no longer do, tried from rewards in a pool and from interpreters of their own."""

import ctypes
import mmap
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ponder import Completion, Example, RewardConfig, Rollout, rubric
from ponder.confinement import Tier, _filter_program, _refused, available_tier
from ponder.errors import InputError, StageError
from ponder.rubric import Limits, NamedReward, Rubric

LIMITS = Limits(workers=1)


def _connect() -> None:
    socket.create_connection(("127.0.0.1", 9))


def _fork() -> None:
    os.fork()


def _system() -> None:
    if ctypes.CDLL(None).system(b"true") != 0:
        raise PermissionError("no shell")


def _io_uring() -> None:
    if ctypes.CDLL(None, use_errno=True).syscall(425, 1, ctypes.create_string_buffer(120)) < 0:
        raise PermissionError(ctypes.get_errno())


ATTEMPTS: dict[str, Callable[[str], Any]] = {
    "open for writing": lambda place: Path(place, "new").write_text("x"),
    "append": lambda place: Path(place, "old").open("a").close(),
    "unlink": lambda place: Path(place, "old").unlink(),
    "rename": lambda place: Path(place, "old").rename(Path(place, "older")),
    "mkdir": lambda place: Path(place, "directory").mkdir(),
    "symlink": lambda place: Path(place, "link").symlink_to("/etc/passwd"),
    "chmod": lambda place: Path(place, "old").chmod(0o777),
    "truncate": lambda place: os.truncate(f"{place}/old", 0),
    "utime": lambda place: os.utime(f"{place}/old"),
    "shared memory": lambda place: Path("/dev/shm/ponder").write_text("x"),
    "read accounts": lambda place: Path("/etc/passwd").read_text(),
    "read another's environment": lambda place: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
    "read elsewhere": lambda place: Path(place, "old").read_text(),
    "socket": lambda place: socket.socket(),
    "socket pair": lambda place: socket.socketpair(),
    "connect": lambda place: _connect(),
    "fork": lambda place: _fork(),
    "subprocess": lambda place: subprocess.run(["true"], check=True),
    "exec": lambda place: os.execv("/bin/true", ["true"]),
    "system": lambda place: _system(),
    "signal the parent": lambda place: os.kill(os.getppid(), signal.SIGTERM),
    "signal everyone": lambda place: os.kill(-1, signal.SIGTERM),
    "signal the group": lambda place: os.kill(0, signal.SIGTERM),
    "pidfd": lambda place: os.pidfd_open(os.getppid()),
    "memory file": lambda place: os.memfd_create("program"),
    "io_uring": lambda place: _io_uring(),
    "raise a limit": lambda place: resource.prlimit(os.getppid(), resource.RLIMIT_AS, (1, 1)),
}


class Attempts:
    """Tries what the completion names: 1 when it was refused, 0 when it worked."""

    def __init__(self, place: str) -> None:
        self._place = place

    def __call__(self, example: Example, completion: Completion) -> float:
        try:
            ATTEMPTS[completion.text](self._place)
        except (PermissionError, ValueError):
            return 1.0
        return 0.0


def opens_a_file(example: Example, completion: Completion) -> float:
    return float(len(Path("/etc/hostname").read_text()))


def reads_modules(example: Example, completion: Completion) -> float:
    mmap.mmap(-1, 4096).close()
    return float(len(Path(subprocess.__file__).read_text()) > 0)


def test_this_machine_has_all_that_the_other_tests_are_about() -> None:
    assert available_tier() == Tier.FILES


def test_a_worker_can_neither_write_nor_reach_others_nor_read_around(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("as it was")
    batch = [Rollout(Example("q"), Completion(name), 0) for name in ATTEMPTS]
    with Rubric([NamedReward("attempts", 1.0, Attempts(str(tmp_path)))], limits=LIMITS) as scorer:
        refused = {name: score.total for name, score in zip(ATTEMPTS, scorer.score(batch), strict=True)}
    assert refused == dict.fromkeys(ATTEMPTS, 1.0)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("old", "as it was")]
    assert not Path("/dev/shm/ponder").exists()


def test_a_worker_can_still_read_modules_and_map_memory() -> None:
    with Rubric([NamedReward("modules", 1.0, reads_modules)], limits=LIMITS) as scorer:
        assert scorer.score([Rollout(Example("q"), Completion("x"), 0)])[0].total == 1.0


def test_a_reward_that_is_refused_a_file_is_told_where_to_open_it() -> None:
    said: list[str] = []
    with (
        Rubric([NamedReward("reads", 1.0, opens_a_file)], limits=LIMITS, say=said.append) as scorer,
        pytest.raises(StageError, match="scored none"),
    ):
        scorer.score([Rollout(Example("q"), Completion("x"), 0)])
    assert "PermissionError" in said[0]
    assert "open files in its `warm_up`" in said[0]


def test_a_reward_that_demands_more_than_the_machine_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rubric, "available_tier", lambda: Tier.LIMITS)
    demanding = NamedReward("careful", 1.0, reads_modules, RewardConfig(confinement="files"))
    with pytest.raises(
        InputError, match=r"reward 'careful'.*'files', which this machine lacks: a filter of system calls"
    ):
        Rubric([demanding])


def test_what_is_missing_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rubric, "available_tier", lambda: Tier.SYSTEM_CALLS)
    said: list[str] = []
    Rubric([NamedReward("modules", 1.0, reads_modules)], say=said.append)
    assert said == ["rewards are scored without " + rubric.MISSING[Tier.FILES]]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_filter_is_well_formed_on_every_machine(machine: str) -> None:
    program = _filter_program(machine, 4242)
    assert {len(instruction) for instruction in program} == {8}
    assert len(program) < 4096
    # The last instruction lets everything through that no earlier one was about.
    assert program[-1] == b"\x06\x00\x00\x00\x00\x00\xff\x7f"
    assert len(set(_refused(machine))) == len(_refused(machine))


def test_a_filter_refuses_the_calls_of_another_architecture() -> None:
    """A 32-bit call (int 0x80) would be numbered differently: the process is killed."""
    code = (
        "import ctypes, mmap\n"
        "from ponder.confinement import Confinement, interpreter_paths\n"
        "Confinement(interpreter_paths(), memory_mb=64).apply()\n"
        "code = mmap.mmap(-1, 4096, prot=7)\n"
        "code.write(b'\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3')\n"  # mov eax, 20 (getpid); int 0x80; ret
        "ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode
    assert os.uname().machine != "x86_64" or ended == -signal.SIGSYS
