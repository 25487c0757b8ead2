"""Reward `code`: what is a program, what is a test, and what programs cannot do."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from ponder import Completion, Example, Rollout
from ponder.confinement import Tier
from ponder.errors import InputError
from ponder.rubric import NamedReward, Rubric
from ponder_rewards import code as code_module
from ponder_rewards.code import Code, last_program
from ponder_rewards.code_config import CodeConfig

REWARD = Code(CodeConfig(cpu_seconds=0.5, wall_seconds=4, output_kb=64, memory_mb=128))
SHARE = Code(CodeConfig(cpu_seconds=0.5, wall_seconds=4, credit="share"))

DOUBLE = "def f(x):\n    return x * 2"


def rollout(program: str, tests: Any, **metadata: Any) -> Rollout:
    text = f"<think>so</think> here:\n```python\n{program}\n```\nDone."
    return Rollout(Example("q", None, {"tests": tests, **metadata}), Completion(text), 0)


def score(program: str, tests: Any, *, reward: Code = REWARD, **metadata: Any) -> float | None:
    return reward.score([rollout(program, tests, **metadata)])[0]


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("```python\na\n```", "a\n"),
        ("```py\na\n```\nthen\n```python\nb\n```\n", "b\n"),
        ("```py\na\n```\nit prints:\n```\n7\n```\n", "a\n"),
        ("```\na\n```\nthen\n```\nb\n```\n", "b\n"),
        ("1. so:\n   ```python\n   if a:\n       b\n\n   c\n   ```\n", "if a:\n    b\n\nc\n"),
        ("- ```python\n  a\n  ```\n", "a\n"),
        ("```python\na\n```\n```json\n{}\n```", "a\n"),
        ("````python\n```\na\n````", "```\na\n"),
        ("~~~python\na\n~~~", "a\n"),
        ("```python\na", None),
        ("print(1)", None),
        ("", None),
    ],
)
def test_the_program_is_the_last_closed_block_of_python(text: str, program: str | None) -> None:
    assert last_program(text) == program


@pytest.mark.parametrize("unit", ["```", "```\n", "```python\n", "`", "\n", "~~~x\n"])
def test_a_hostile_megabyte_of_fences_is_read_at_once(unit: str) -> None:
    started = time.process_time()
    last_program(unit * (1_000_000 // len(unit)))
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("program", "tests"),
    [
        ("print(int(input()) * 2)", [{"input": "4\n", "output": "8"}, {"input": "5", "output": "10\n"}]),
        ("import sys\nfor line in sys.stdin: print(line, end='')", {"input": "a\nb\n", "output": "a\nb"}),
        ("print('once')", [{"output": "once"}]),
        (DOUBLE, "assert f(2) == 4"),
        (DOUBLE, ["assert f(2) == 4\nassert [1, 1] == f([1])", "assert f('a') in ['aa'] and not f(0)"]),
        (DOUBLE, ["import math\nassert math.isclose(f(0.1), 0.2, rel_tol=1e-9)", "assert abs(f(0.1) - 0.2) < 1e-6"]),
        ("def f(x):\n    return (x, [x], {x: None}, {x}, b'x', 2**70, True)", "assert f(1) == (1, [1], {1: None}, {1}, b'x', 2**70, True)"),
        ("def f(x):\n    return None", ["assert f(1) is None", "assert 1 < 2 < 3"]),
        (DOUBLE, "numbers = [1, 2]\nassert [f(n) for n in numbers] == [2, 4]"),
        (DOUBLE, "assert f(1) == 2, 'two'"),
    ],
)  # fmt: skip
def test_a_program_that_passes_all_its_tests_scores_one(program: str, tests: Any) -> None:
    assert score(program, tests) == 1.0


def test_a_function_that_checks_a_candidate_is_unfolded() -> None:
    test = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(0) == 0\n\ncheck(f)"
    assert score(DOUBLE, test, entry_point="f") == 1.0
    assert score("def f(x):\n    return 4", test, entry_point="f") == 0.0


@pytest.mark.parametrize(
    ("program", "tests"),
    [
        ("print(3)", [{"input": "", "output": "4"}]),
        ("print(4)\nraise SystemExit(1)", [{"input": "", "output": "4"}]),
        ("print(4)\n1 / 0", [{"input": "", "output": "4"}]),
        ("def f(x)\n    return x", ["assert f(1) == 1"]),
        ("def f(x):\n    return x", ["assert f(1) == 2"]),
        ("def f(x):\n    return (1, 2)", ["assert f(1) == [1, 2]"]),
        ("def f(x):\n    return 1.0", ["assert f(1) is 1"]),
        ("", ["assert f(1) == 2"]),
    ],
)
def test_a_program_that_fails_a_test_scores_zero(program: str, tests: Any) -> None:
    assert score(program, tests) == 0.0


def test_credit_may_be_the_share_of_tests_that_pass() -> None:
    tests = ["assert f(2) == 4", "assert f(3) == 9", "assert f(0) == 0", "assert f(5) == 25"]
    assert score(DOUBLE, tests, reward=SHARE) == 0.5
    assert score(DOUBLE, tests) == 0.0


def test_a_program_that_takes_too_long_three_times_fails_the_rest() -> None:
    started = time.monotonic()
    assert score("while True: pass", [{"output": "x"}] * 50, reward=SHARE) == 0.0
    assert time.monotonic() - started < 30


def test_an_example_without_tests_abstains() -> None:
    bare = Rollout(Example("q"), Completion("```python\nprint(1)\n```"), 0)
    assert REWARD.score([bare, rollout(DOUBLE, [])]) == [None, None]


def test_a_response_without_a_program_scores_zero() -> None:
    example = Example("q", None, {"tests": ["assert f(2) == 4"]})
    assert REWARD.score([Rollout(example, Completion("I pass."), 0)]) == [0.0]


@pytest.mark.parametrize("tests", [[3], [{"input": "x"}], ["def f("], ["def check(candidate): pass"]])
def test_tests_that_cannot_be_read_end_the_run_with_what_is_wrong(tests: Any) -> None:
    with Rubric([NamedReward("tests", 1.0, REWARD)]) as rubric, pytest.raises(InputError, match="metadata 'tests'"):
        rubric.score([rollout(DOUBLE, tests)])


def test_verdicts_do_not_depend_on_the_order_of_sets() -> None:
    program = "print({'x^2y', 'p^2q', 'abc'})"
    tests = [{"output": "{'abc', 'x^2y', 'p^2q'}"}]
    assert len({score(program, tests) for _ in range(3)}) == 1


# What each would print had it worked; the program gets no point when it could not.
ESCAPES = {
    "write outside": "open('{canary}', 'w').write('x'); print('ESCAPED')",
    "write here": "open('new', 'w').write('x'); print('ESCAPED')",
    "read accounts": "print('ESCAPED' if open('/etc/passwd').read() else '')",
    "secret in the environment": "import os; print('ESCAPED' if 'A_PLANTED_SECRET' in os.environ else '')",
    "parent's environment": "import os; print('ESCAPED' if open(f'/proc/{{os.getppid()}}/environ').read() else '')",
    "socket": "import socket; socket.socket(); print('ESCAPED')",
    "ctypes system": "import ctypes; print('ESCAPED' if ctypes.CDLL(None).system(b'touch {canary}') == 0 else '')",
    "subclasses": (
        "import os\nfor c in ().__class__.__base__.__subclasses__():\n    if c.__name__ == 'Popen' or c.__name__ == '_wrap_close':\n"
        "        g = c.__init__.__globals__\n        assert g['system']('touch {canary}') == 0\nprint('ESCAPED')\nassert not os.path"
    ),
    "fork": "import os; os.fork(); print('ESCAPED')",
    "fork bomb": "import os\nwhile True:\n    os.fork()\n    print('ESCAPED')",
    "thread bomb": "import threading, time\nfor _ in range(100000): threading.Thread(target=time.sleep, args=(9,)).start()\nprint('ESCAPED')",
    "three gigabytes": "x = bytearray(3 * 2**30); print('ESCAPED')",
    "endless loop": "while True: pass",
    "endless loop without alarms": "import signal\nsignal.setitimer(signal.ITIMER_PROF, 0)\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
    "fake exit": "import os; print('passed', flush=True); os._exit(0)",
    "two hundred megabytes": "import sys\nwhile True: sys.stdout.write('x' * 1_000_000)",
    "symlink": "import os; os.symlink('/etc/passwd', 'link'); print('ESCAPED' if open('link').read() else '')",
    "symlink race": "import os\nwhile True:\n    os.rename('program.py', 'other'); os.symlink('{canary}', 'program.py'); print('ESCAPED'); break",
    "shared memory": "open('/dev/shm/ponder-canary', 'w').write('x'); print('ESCAPED')",
    "multiprocessing memory": "from multiprocessing import shared_memory as m; m.SharedMemory('ponder-canary', True, 9); print('ESCAPED')",
    "signal to the parent": "import os, signal; os.kill(os.getppid(), signal.SIGTERM); print('ESCAPED')",
    "signal to all": "import os, signal; os.kill(-1, signal.SIGKILL); print('ESCAPED')",
    "exec": "import os; os.execv('/bin/echo', ['echo', 'ESCAPED'])",
    "subprocess": "import subprocess; print(subprocess.run(['echo', 'ESCAPED'], capture_output=True).stdout.decode())",
    "ptrace": "import ctypes, os; print('ESCAPED' if ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0 else '')",
    "mount": "import ctypes; print('ESCAPED' if ctypes.CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, 0) == 0 else '')",
    "read the reward": "print('ESCAPED' if open('{reward}').read() else '')",
}  # fmt: skip


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("A_PLANTED_SECRET", "hunter2")
    return tmp_path / "canary"


@pytest.mark.parametrize("name", ESCAPES)
def test_a_program_cannot_get_out(name: str, canary: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.txt"
    data.write_text("of somebody else")
    program = ESCAPES[name].format(canary=canary, reward=data)
    assert score(program, [{"output": "ESCAPED"}]) == 0.0
    assert not canary.exists()
    assert not Path("/dev/shm/ponder-canary").exists()
    assert os.getppid() > 0


FORGERIES = {
    "equal to everything": "class Yes:\n    __eq__ = lambda *_: True\n    __rsub__ = __abs__ = lambda *_: 0\ndef f(x):\n    return Yes()",
    "a number equal to everything": "class Yes(int):\n    __eq__ = lambda *_: True\ndef f(x):\n    return Yes(1)",
    "printed success": "print('passed\\n' * 9)\nimport sys\nsys.exit(0)",
    "hard exit": "import os\nos._exit(0)",
    "exit inside": "import os\ndef f(x):\n    os._exit(0)",
    "a result without the nonce": "import os\nfor d in range(3, 30):\n    try: os.write(d, b'[[\"int\", \"0x2a\"]]')\n    except OSError: pass\nos._exit(0)",
    "other built-ins": "import builtins\nbuiltins.abs = lambda x: 0\nbuiltins.sorted = lambda *_: [1, 2]\ndef f(x):\n    return 7",
    "other assertions": "import sys\nclass Quiet(AssertionError): pass\n__builtins__['AssertionError'] = Quiet\ndef f(x):\n    return 7",
    "another json": "import json\njson.JSONEncoder.encode = json.dumps = lambda *_: '[[\"int\", \"0x2a\"]]'\ndef f(x):\n    return 7",
}  # fmt: skip


@pytest.mark.parametrize("name", FORGERIES)
def test_a_program_cannot_forge_a_pass(name: str) -> None:
    for test in ("assert f(3) == 42", "assert abs(f(3) - 42) < 1e-6", "assert sorted([f(3)]) == [42]"):
        assert score(FORGERIES[name], [test]) == 0.0


def test_expected_values_stay_outside_the_jail() -> None:
    spy = "import os\nfound = open('check.py').read()\ndef f(x):\n    return 4242 if '4242' in found else 0"
    assert score(spy, ["assert f(3) == 4242"]) == 0.0


# What a program that squares passes, and one that is right for 0 alone does not.
NESTED = {
    "a loop in check": "def check(candidate):\n    assert candidate(0) == 0\n    for i in range(1, 10):\n        assert candidate(i) == i * i",
    "a loop over cases": "cases = [(0, 0), (3, 9)]\nfor x, y in cases:\n    assert f(x) == y",
    "a loop that counts": "i = 0\nwhile i < 3:\n    assert f(i) == i ** 2\n    i += 1",
    "a branch": "if True:\n    assert f(3) == 9",
    "a main guard": "def test():\n    assert f(3) == 9\nif __name__ == '__main__':\n    test()",
    "a test function": "def test_f():\n    assert f(3) == 9",
    "a helper that asserts": "def verify(x, y):\n    got = f(x)\n    assert got == y\nfor n in (0, 3):\n    verify(n, n * n)",
    "a helper of a helper": "def run(n):\n    verify(n)\ndef verify(m):\n    assert f(m) == m * m\nrun(3)",
    "all": "assert all(f(i) == i * i for i in range(5))",
    "a random loop": "import random\nfor _ in range(5):\n    x = random.randint(2, 9)\n    assert f(x) == x * x",
    "a changed argument": "xs = [1]\nfor n in (2, 3):\n    xs.append(n)\n    assert [f(x) for x in xs] == [1, 4, 9][:n]",
}  # fmt: skip


@pytest.mark.parametrize("name", NESTED)
def test_asserts_inside_other_statements_count(name: str) -> None:
    assert score("def f(x):\n    return x * x", [NESTED[name]], entry_point="f") == 1.0
    assert score("def f(x):\n    return 0", [NESTED[name]], entry_point="f") == 0.0


@pytest.mark.parametrize(
    "test",
    [
        "try:\n    assert f(3) == 9\nexcept ValueError:\n    pass",
        "with open('x') as file:\n    assert f(3) == 9",
        "if f(2) == 4:\n    assert f(3) == 9",
        "for x in f(3):\n    assert x",
        "for i in range(9):\n    if f(i):\n        continue\n    assert True",
        "while True:\n    assert f(3) == 9",
        "def verify(x):\n    assert f(x)\n    return 1\nassert verify(3) == 1",
        "x = 4\ndef test_f():\n    x = 5\n    assert f(x)",
        "def test_f():\n    assert f(1)\n    test_f()",
        "class Tests:\n    def test_f(self):\n        assert f(3) == 9",
    ],
)
def test_an_assert_that_cannot_be_judged_ends_the_run_with_what_is_wrong(test: str) -> None:
    with pytest.raises(InputError, match=r"metadata 'tests'.*cannot be judged: it .*Assert at the top"):
        score(DOUBLE, [test])


@pytest.mark.parametrize("test", ["import math", "def helper(x):\n    assert f(x)", "f(3)"])
def test_a_text_that_asserts_nothing_ends_the_run(test: str) -> None:
    with pytest.raises(InputError, match=r"metadata 'tests'.*asserts nothing"):
        score(DOUBLE, [test])


# The program sees 4242 only where the test hands it in: one that finds it in the check's source answers wrongly.
HELD_BACK = [
    "assert set(f(1)) == set((4242, 5))",
    "assert f(1) == [4242] + [5]",
    "assert sorted(f(1)) == sorted([4242, 5], reverse=True)[::-1]",
    "exp = [4242, 5]\nassert f(1) == exp",
    "def check(candidate):\n    exp = [4242, 5]\n    assert candidate(1) == exp",
    "for x, y in [(1, [4242, 5])]:\n    assert f(x) == y",
    "assert f(1) == [5] or f(1) == [4242, 5]",
    "assert f(1)[0] == 4242.0 and max(f(1)) < float('inf')",
    "assert f(1) == [n for n in (4242, 5) if n]",
]


@pytest.mark.parametrize("test", HELD_BACK)
def test_expected_values_that_are_computed_stay_outside_the_jail(test: str) -> None:
    program = "def f(x):\n    return [0] if '4242' in open('check.py').read() else {}"
    honest = [4242, 5] if "sorted" not in test else [5, 4242]
    assert score(program.format(honest), [test], entry_point="f") == 1.0


@pytest.mark.parametrize(
    "size", ["9 ** 9 ** 9", "[0] * 10 ** 12", "list(range(10 ** 12))", "1 << 10 ** 10", "'%99999999999d' % 1"]
)
def test_an_expected_value_that_is_too_much_work_is_left_to_the_jail(size: str) -> None:
    started = time.process_time()
    assert score(DOUBLE, [f"assert f(1) == {size}"]) == 0.0
    assert time.process_time() - started < 1


def test_an_operand_that_raises_fails_only_where_it_is_reached() -> None:
    assert score("def f(x):\n    return None", ["assert f(1) is None or f(1)[0] == 1"]) == 1.0
    assert score("def f(x):\n    return None", ["assert f(1)[0] == 1 or f(1) is None"]) == 0.0


def test_a_program_may_have_the_name_of_a_built_in_function() -> None:
    assert score("def max(a, b):\n    return 0", ["assert max(3, 5) == 5"]) == 0.0
    assert score("def sum(a, b):\n    return 6", ["assert sum(10, 15) == 6"]) == 1.0


def test_no_frame_holds_the_nonce_while_the_program_runs() -> None:
    program = (
        "import sys\ndef f(x):\n    frame, found = sys._getframe(), []\n    while frame:\n"
        "        found += [value for value in frame.f_locals.values() if type(value) is bytes and len(value) == 33]\n        frame = frame.f_back\n    return found"
    )
    assert score(program, ["assert f(1) == []"]) == 1.0


def test_a_machine_that_cannot_confine_enough_is_refused_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_module, "reached_tier", lambda: Tier.FILES)
    with pytest.raises(InputError, match=r"to 'files', not to 'namespaces'. Missing: namespaces.*allow: files"):
        Code(CodeConfig())
    assert Code(CodeConfig(allow="files")).tier == Tier.FILES


def test_a_jail_that_turns_out_weaker_than_asked_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ponder_rewards.jail._ENVIRONMENT", {"PYTHONHASHSEED": "0"})
    reward = Code(CodeConfig())
    object.__setattr__(reward._jail, "tier", 5)
    assert score("print(1)", [{"output": "1"}], reward=reward) == 0.0


@pytest.mark.parametrize(
    ("option", "value"),
    [("cpu_seconds", 0.0), ("memory_mb", 0), ("output_kb", 0), ("workers", 0), ("wall_seconds", -1.0)],
)
def test_an_option_out_of_range_is_refused_by_name(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=option):
        CodeConfig(**{option: value})
