"""Runs one program that a model wrote, confined, in an interpreter that was started for it alone and that ends with it.

Started by `ponder_rewards.jail` without site-packages; arguments: the file of `ponder.confinement`, the least tier, seconds of
processor time, megabytes of memory, what to do (`script`, `check` or `probe`), and the parent's process id. The working
directory holds `program.py`, and for a check `check.py`.

A script has standard input and output. A check is a module that runs with the program's names and adds to `VALUES` what `ENCODED`
makes of values: that goes out behind a nonce, which came in over standard input; what else the program prints goes nowhere.
"""

import builtins
import importlib.util
import json
import math
import os
import resource
import runpy
import signal
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

NOT_CONFINED = 125
PROBED = 100


def main() -> None:
    """See the module."""
    file, tier, cpu_seconds, memory_mb, task, parent = sys.argv[1:]
    confinement = load("confinement", file)
    confinement.die_with(int(parent))
    limit_time(float(cpu_seconds))
    nowhere = os.open(os.devnull, os.O_RDWR)
    paths = [*confinement.interpreter_paths(), os.getcwd()]  # noqa: PTH109 - pathlib is slow to import
    reached = confinement.Confinement(paths, memory_mb=int(memory_mb), namespaces=True).apply()
    if task == "probe":
        os._exit(PROBED + reached)
    if reached < int(tier):
        os._exit(NOT_CONFINED)
    sys.argv[:] = ["program.py"]
    if task == "script":
        runpy.run_path("program.py", run_name="__main__")
    else:
        check(nowhere)


def load(name: str, file: str, names: Mapping[str, Any] | None = None) -> ModuleType:
    """Run a file as a module that has these names to begin with."""
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    vars(module).update(names or {})
    spec.loader.exec_module(module)
    return module


def limit_time(seconds: float) -> None:
    """The kernel ends the process: softly at the limit, and for good two seconds after it."""
    most = math.ceil(seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (most, most))
    signal.setitimer(signal.ITIMER_PROF, seconds)


def check(nowhere: int) -> None:
    """Run the check with the program's names, but with the built-in functions as they were before it."""
    given, results = os.dup(0), os.dup(1)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    pristine, receive, send, leave = vars(builtins).copy(), os.read, os.write, os._exit
    encoder = json.JSONEncoder().encode
    program = load("program", os.path.abspath("program.py"))  # noqa: PTH100 - pathlib is slow to import
    names = {name: value for name, value in vars(program).items() if not name.startswith("__")}
    values: list[Any] = []
    names |= {"__builtins__": pristine, "VALUES": values, "ENCODED": encoded}
    load("check", os.path.abspath("check.py"), names)  # noqa: PTH100
    # Read no sooner, so that it is in no frame while the program runs.
    content = receive(given, 64) + encoder(values).encode()
    while content:
        content = content[send(results, content) :]
    leave(0)


def encoded(value: Any, depth: int = 0) -> list[Any]:
    """A value of the built-in types as JSON that says which; what is of any other type is nobody's answer."""
    kind = BUILT_IN.get(type(value))
    if kind is None or depth > 40:
        raise TypeError(type(value).__name__)
    if kind in ("list", "tuple", "set", "frozenset"):
        return [kind, [encoded(item, depth + 1) for item in value]]
    if kind == "dict":
        return [kind, [[encoded(key, depth + 1), encoded(item, depth + 1)] for key, item in value.items()]]
    if kind == "int":
        return [kind, hex(value)]
    if kind == "float":
        return [kind, value.hex()]
    return [kind, value.hex() if kind == "bytes" else value]


BUILT_IN: dict[type, str] = {
    kind: kind.__name__ for kind in (list, tuple, set, frozenset, dict, int, float, bytes, str, bool)
}
BUILT_IN[type(None)] = "None"


if __name__ == "__main__":
    main()
