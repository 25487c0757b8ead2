import ctypes
import importlib.util
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ponder import Completion, Example, Rollout
from ponder.errors import InputError
from ponder.plugins import load_plugin_file
from ponder.workers import Limits, WorkerPool

QUICK = Limits(workers=2, cpu_seconds=0.3, wall_seconds=0.6, memory_mb=256)


KEPT: list[bytes] = []


def length(example: Example, completion: Completion) -> float:
    return float(len(completion.text))


def abstain(example: Example, completion: Completion) -> None:
    return None


def misbehave(example: Example, completion: Completion) -> Any:
    """Does what the completion names, and returns its length when that names nothing."""
    act: Callable[[], Any] = ACTS.get(completion.text, lambda: float(len(completion.text)))
    return act()


def _fail() -> None:
    raise ValueError("cannot score this")


def _burn() -> None:
    while True:
        pass


def _burn_in_c() -> None:
    pow(7, 10**9) % 3


def _chatter() -> float:
    lines = b'[0, 0, "ok", 99.0, "", true]\n' * 35_000
    for _ in range(100):
        os.write(1, lines)
    print("x" * 1_000_000)
    return 1.0


def _hog() -> None:
    bytearray(2**31)


def _burn_past_the_alarm() -> None:
    signal.setitimer(signal.ITIMER_PROF, 0)
    _burn()


def _keep() -> float:
    KEPT.append(b"x" * (200 * 2**20))
    return 1.0


def _thread() -> float:
    found: list[float] = []
    thread = threading.Thread(target=found.append, args=(2.0,))
    thread.start()
    thread.join()
    return found[0]


def _recurse() -> Any:
    return _recurse()


ACTS: dict[str, Callable[[], Any]] = {
    "fail": _fail,
    "burn": _burn,
    "burn in c": _burn_in_c,
    "sleep": lambda: time.sleep(60),
    "nan": lambda: float("nan"),
    "infinity": lambda: float("-inf"),
    "huge": lambda: 10**400,
    "text": lambda: "1.0",
    "exit": sys.exit,
    "hard exit": lambda: os._exit(3),
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "null": lambda: ctypes.string_at(0),
    "hog": _hog,
    "recurse": _recurse,
    "chatter": _chatter,
    "true": lambda: True,
    "burn on": _burn_past_the_alarm,
    "keep": _keep,
    "thread": _thread,
    "import": lambda: float(importlib.import_module("fractions").Fraction(1, 2)),
    "which": lambda: float(os.getpid()),
}


def spoil(example: Example, completion: Completion) -> float:
    example.metadata["seen"] = example.metadata.get("seen", 0) + 1  # type: ignore[index]
    example.prompt[0]["content"] += "!"  # type: ignore[index]
    return float(example.metadata["seen"])


def which_process(example: Example, completion: Completion) -> float:
    return float(os.getpid())


def secrets(example: Example, completion: Completion) -> float:
    return float("A_PLANTED_SECRET" in os.environ)


def order_of_a_set(example: Example, completion: Completion) -> float:
    return float(hash("x^2y") % 1_000_003)


def rollouts(*texts: str, **metadata: object) -> list[Rollout]:
    return [Rollout(Example("q", "4", metadata), Completion(text), 0) for text in texts]


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool({"misbehave": misbehave}, QUICK)
    yield pool
    pool.close()


def test_values_come_back_in_order_whatever_worker_found_them(pool: WorkerPool) -> None:
    texts = ["a" * random.Random(7).randrange(50) for _ in range(300)]
    assert [row[0].value for row in pool.score(rollouts(*texts))] == [float(len(text)) for text in texts]


@pytest.mark.parametrize(
    ("act", "status", "problem"),
    [
        ("fail", "error", "ValueError: cannot score this"),
        ("nan", "error", "nan, not a finite number"),
        ("infinity", "error", "-inf, not a finite number"),
        ("huge", "error", "inf, not a finite number"),
        ("text", "error", "returned str, not a number"),
        ("exit", "error", "SystemExit"),
        ("hard exit", "error", "exit code 3"),
        ("crash", "error", "SIGSEGV"),
        ("null", "error", "SIGSEGV"),
        ("hog", "error", "MemoryError"),
        ("recurse", "error", "RecursionError"),
        ("burn", "timeout", "0.3 s of processor time"),
        ("burn in c", "timeout", "0.3 s of processor time"),
        ("sleep", "timeout", "no answer within 0.6 s"),
        ("chatter", "ok", ""),
        ("true", "ok", ""),
        ("burn on", "timeout", "0.3 s of processor time"),
        ("thread", "ok", ""),
        ("import", "ok", ""),
    ],
)
def test_misbehaviour_costs_the_one_sample(pool: WorkerPool, act: str, status: str, problem: str) -> None:
    before, found, after = (row[0] for row in pool.score(rollouts("before", act, "after")))
    assert (found.status, found.value is None) == (status, status != "ok")
    assert problem in found.problem
    assert (before.value, after.value) == (6.0, 5.0)


def test_a_worker_that_keeps_memory_is_replaced_after_the_sample() -> None:
    pool = WorkerPool({"misbehave": misbehave}, Limits(workers=1, memory_mb=256))
    first, kept, second, third = (row[0].value for row in pool.score(rollouts("which", "keep", "which", "which")))
    pool.close()
    assert kept == 1.0
    assert first != second == third


def test_a_worker_that_is_lost_takes_no_other_score_of_its_chunk_with_it(pool: WorkerPool) -> None:
    texts = ["x"] * 400
    texts[57] = texts[58] = texts[260] = "hard exit"
    statuses = [row[0].status for row in pool.score(rollouts(*texts))]
    assert [place for place, status in enumerate(statuses) if status != "ok"] == [57, 58, 260]


def test_a_reward_that_does_not_answer_leaves_the_others_their_scores() -> None:
    pool = WorkerPool({"length": length, "misbehave": misbehave, "abstain": abstain}, QUICK)
    rows = pool.score(rollouts("one", "burn", "three"))
    pool.close()
    assert [[verdict.status for verdict in row] for row in rows] == [
        ["ok", "ok", "abstained"],
        ["ok", "timeout", "abstained"],
        ["ok", "ok", "abstained"],
    ]


def test_a_row_of_timeouts_ends_that_rewards_work_on_the_batch_at_the_same_place_every_time() -> None:
    limits = Limits(workers=2, cpu_seconds=0.05, give_up_after=3)
    texts = ["fine", "burn", "burn", "fine", *["burn"] * 40, "fine"]
    pool = WorkerPool({"misbehave": misbehave, "length": length}, limits)
    started = time.monotonic()
    results = [pool.score(rollouts(*texts)) for _ in range(2)]
    assert time.monotonic() - started < 10
    pool.close()
    statuses = [[row[0].status for row in rows] for rows in results]
    assert statuses[0] == statuses[1] == ["ok", "timeout", "timeout", "ok", *["timeout"] * 41]
    assert all(row[1].status == "ok" for row in results[0])


def test_a_worker_that_is_starved_of_its_core_is_no_sleeper(pool: WorkerPool) -> None:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(6)]
    try:
        limits = Limits(workers=2, cpu_seconds=0.3, wall_seconds=0.05)
        starved = WorkerPool({"misbehave": misbehave}, limits)
        problems = [row[0].problem for row in starved.score(rollouts("burn", "burn"))]
        starved.close()
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert problems == ["more than 0.3 s of processor time"] * 2


def test_what_a_reward_changes_in_its_inputs_no_other_score_sees() -> None:
    pool = WorkerPool({"spoil": spoil, "again": spoil}, Limits(workers=1))
    example = Example([{"role": "user", "content": "q"}], "4", {"seen": 0})
    batch = [Rollout(example, Completion("x"), 0)] * 4
    assert [[verdict.value for verdict in row] for row in pool.score(batch)] == [[1.0, 1.0]] * 4
    pool.close()
    assert example.metadata == {"seen": 0}


def test_lambdas_and_closures_cross_over() -> None:
    def times(factor: float) -> Callable[[Example, Completion], float]:
        def scaled(example: Example, completion: Completion, *, plus: float = 0.5) -> float:
            return factor * len(completion.text) + plus

        return scaled

    pool = WorkerPool({"times": times(3), "one": lambda example, completion: 1.0}, QUICK)
    assert [verdict.value for verdict in pool.score(rollouts("ab"))[0]] == [6.5, 1.0]
    pool.close()


def test_a_reward_that_cannot_cross_over_is_refused_by_name() -> None:
    class Local:
        def __call__(self, example: Example, completion: Completion) -> float:
            return 1.0

    with pytest.raises(InputError, match=r"reward 'mine' cannot be sent.*Define its class at the top of a module"):
        WorkerPool({"mine": Local()}, QUICK)


def test_a_module_that_fails_in_the_worker_is_quoted(tmp_path: Path) -> None:
    file = tmp_path / "only_once.py"
    file.write_text(
        "import sys\nif 'pytest' not in sys.modules:\n    raise RuntimeError('no second time')\ndef one(e, c): return 1.0\n"
    )
    spec = importlib.util.spec_from_file_location("only_once", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["only_once"] = module
    spec.loader.exec_module(module)
    pool = WorkerPool({"one": module.one}, QUICK)
    with pytest.raises(InputError, match=r"rewards \(one\) could not be built(.|\n)*no second time"):
        pool.score(rollouts("x"))


def test_a_reward_from_a_plugin_file_works_in_the_workers(tmp_path: Path) -> None:
    file = tmp_path / "brevity.py"
    file.write_text(
        "class Brevity:\n    def __call__(self, example, completion):\n        return 1 / len(completion.text)\n"
    )
    pool = WorkerPool({"brevity": load_plugin_file(file).Brevity()}, QUICK, plugin_files=[file])
    assert pool.score(rollouts("four"))[0][0].value == 0.25
    pool.close()


def test_workers_know_no_secrets_and_hash_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_PLANTED_SECRET", "hunter2")
    found = []
    for seed in ("1", "2"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        pool = WorkerPool({"secrets": secrets, "hash": order_of_a_set}, QUICK)
        found.append([verdict.value for verdict in pool.score(rollouts("x"))[0]])
        pool.close()
    assert found[0] == found[1]
    assert found[0][0] == 0.0


def test_metadata_that_cannot_cross_over_is_refused() -> None:
    pool = WorkerPool({"length": length}, QUICK)
    with pytest.raises(InputError, match="examples cannot be sent"):
        pool.score(rollouts("x", lock=threading.Lock()))
    pool.close()


def test_nothing_starts_before_there_is_something_to_score() -> None:
    pool = WorkerPool({"length": length}, QUICK)
    assert pool.score([]) == []
    assert pool._nursery is None


def test_closing_ends_every_worker_and_a_later_call_starts_new_ones() -> None:
    pool = WorkerPool({"which": which_process}, QUICK)
    first = pool.score(rollouts("x"))[0][0].value
    pool.close()
    assert first is not None
    assert not _alive(int(first))
    second = pool.score(rollouts("x"))[0][0].value
    pool.close()
    assert second not in (None, first)


def test_the_death_of_the_trainer_takes_busy_workers_with_it(tmp_path: Path) -> None:
    notes = tmp_path / "workers"
    script = tmp_path / "trainer.py"
    script.write_text(
        "import pathlib, threading, time\n"
        "from ponder import Completion, Example, Rollout\n"
        "from ponder.workers import Limits, WorkerPool\n"
        "def hang(example, completion):\n"
        "    while True: pass\n"
        "def note(pool):\n"
        "    while len(pool._workers) < 2: time.sleep(0.01)\n"
        f"    notes = pathlib.Path({str(notes)!r})\n"
        "    notes.write_text(''.join(f'{worker.process}\\n' for worker in pool._workers))\n"
        "if __name__ == '__main__':\n"
        "    pool = WorkerPool({'hang': hang}, Limits(workers=2, cpu_seconds=60))\n"
        "    threading.Thread(target=note, args=(pool,)).start()\n"
        "    pool.score([Rollout(Example('q'), Completion('x'), 0)] * 4)\n"
    )
    trainer = subprocess.Popen([sys.executable, str(script)])
    assert _eventually(lambda: notes.exists() and len(notes.read_text().splitlines()) == 2)
    trainer.kill()
    trainer.wait()
    workers = [int(line) for line in notes.read_text().splitlines()]
    assert _eventually(lambda: not any(map(_alive, workers)))


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][:1] != "Z"
    except OSError:
        return False


def _eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 15
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
