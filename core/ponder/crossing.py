"""How rewards get into the process that holds them: pickled once by us, for our own child, never the other way round.

Beyond what pickle does by itself, functions that no module names (lambdas, closures) cross by value, and modules that the
child could not import by name (a plugin file, a script, a test) are loaded there from the same file.
"""

from __future__ import annotations

import importlib.util
import io
import marshal
import pickle
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import CellType, FunctionType, ModuleType
from typing import Any


class CrossingError(Exception):
    """Something cannot be sent to another process."""


def pack(thing: object, plugin_files: Sequence[Path] = ()) -> bytes:
    """The bytes from which `unpack` rebuilds `thing` in a child process of the same interpreter.

    Those of the plugin files that are loaded here are loaded there first, under the same names.
    Raises CrossingError for what cannot be rebuilt there, such as open files, locks and instances of local classes.
    """
    buffer = io.BytesIO()
    pickler = _Pickler(buffer)
    pickler.files.update(_loaded(plugin_files))
    try:
        pickler.dump(thing)
    except (pickle.PicklingError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise CrossingError(str(error)) from error
    return pickle.dumps((pickler.files, buffer.getvalue()))


def unpack(packed: bytes) -> Any:
    """The thing that `pack` was given. Only for bytes that our own parent process wrote."""
    files, content = pickle.loads(packed)  # noqa: S301 - written by our own parent over a private socket
    for name, file in files.items():
        _provide(name, Path(file))
    return pickle.loads(content)  # noqa: S301 - as above


def _loaded(plugin_files: Sequence[Path]) -> dict[str, str]:
    if not plugin_files:
        return {}
    wanted = {str(path.resolve()) for path in plugin_files}
    modules = {name: str(getattr(module, "__file__", None)) for name, module in list(sys.modules.items())}
    return {name: file for name, file in modules.items() if file in wanted}


class _Pickler(pickle.Pickler):
    def __init__(self, buffer: io.BytesIO) -> None:
        super().__init__(buffer, protocol=pickle.HIGHEST_PROTOCOL)
        self.files: dict[str, str] = {}

    def reducer_override(self, thing: Any) -> Any:
        if not isinstance(thing, type | FunctionType):
            return NotImplemented
        file = getattr(sys.modules.get(thing.__module__), "__file__", None)
        if file:
            self.files[thing.__module__] = str(Path(file).resolve())
        if isinstance(thing, FunctionType) and _named(thing) is not thing:
            return _function, _parts(thing)
        return NotImplemented


def _named(function: FunctionType) -> object:
    """What the function's module offers under the function's name."""
    found: object = sys.modules.get(function.__module__)
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    return found


def _parts(function: FunctionType) -> tuple[object, ...]:
    cells = tuple(cell.cell_contents for cell in function.__closure__ or ())
    code = marshal.dumps(function.__code__)
    return code, function.__module__, function.__defaults__, function.__kwdefaults__, cells


def _function(
    code: bytes,
    module: str,
    defaults: tuple[Any, ...] | None,
    keyword_defaults: Mapping[str, Any] | None,
    cells: tuple[object, ...],
) -> FunctionType:
    namespace = vars(importlib.import_module(module))
    function = FunctionType(marshal.loads(code), namespace, None, defaults, tuple(map(CellType, cells)))
    function.__kwdefaults__ = dict(keyword_defaults) if keyword_defaults else None
    return function


def _provide(name: str, file: Path) -> None:
    """Load the module from its file, unless importing it by name would find the same file."""
    if name != "__main__" and _origin(name) == file:
        return
    # A script runs here under another name, so that what stands under its `if __name__ == "__main__"` does not.
    spec = importlib.util.spec_from_file_location("__ponder_main__" if name == "__main__" else name, file)
    if spec is None or spec.loader is None:
        return
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules[name] = sys.modules[spec.name] = module
    spec.loader.exec_module(module)


def _origin(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin).resolve() if spec and spec.origin else None
