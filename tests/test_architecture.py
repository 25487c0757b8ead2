"""The import rules, the budgets and the forbidden calls of the design, checked on the source itself."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What `ponder new` writes out under another name: plugins for whoever starts one, which nothing here imports.
SAMPLES = sorted(ROOT.glob("core/ponder/samples/**/*.py"))
CORE = sorted(set(ROOT.glob("core/ponder/**/*.py")) - set(SAMPLES))
PLUGINS = sorted(ROOT.glob("plugins/*/ponder_*/**/*.py"))
SOURCES = [
    *CORE,
    *SAMPLES,
    *PLUGINS,
    *sorted(ROOT.glob("examples/plugins/*/*.py")),
    *sorted(ROOT.glob("benchmarks/*.py")),
]

# The glue between transformers-based plugins: only plugins import it, so the core stays free of torch.
SHARED_GLUE = {path for path in CORE if path.name.startswith("hf")}
# Carries reward objects of this process to workers that this process forked; nothing from outside is unpickled.
MAY_PICKLE = {ROOT / "core/ponder/crossing.py"}

HEAVY = {
    "torch",
    "transformers",
    "trl",
    "datasets",
    "mlflow",
    "matplotlib",
    "numpy",
    "pandas",
    "accelerate",
    "reasoning_gym",
}
FORBIDDEN_CALLS = {"eval", "exec", "sympify", "parse_expr", "__import__"}
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 60


def name_of(path):
    return str(path.relative_to(ROOT))


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(node: ast.AST) -> Iterator[str]:
    """Absolute names of all modules imported below a node."""
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
            yield child.module


def run_time_imports(node: ast.AST) -> Iterator[str]:
    """The same without what stands under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield from imports(child)
        else:
            yield from run_time_imports(child)


def top(module):
    return module.partition(".")[0]


every_source = pytest.mark.parametrize("path", SOURCES, ids=name_of)


@pytest.mark.parametrize("path", [path for path in CORE if path not in SHARED_GLUE], ids=name_of)
def test_the_core_imports_neither_torch_nor_plugins(path):
    names = {top(module) for module in run_time_imports(tree(path))}
    assert not names & HEAVY
    assert not {name for name in names if name.startswith("ponder_")}


@pytest.mark.parametrize("path", [path for path in CORE if path not in SHARED_GLUE], ids=name_of)
def test_the_core_leaves_the_shared_glue_to_plugins(path):
    assert not {module for module in run_time_imports(tree(path)) if module.startswith("ponder.hf")}


@pytest.mark.parametrize("path", PLUGINS, ids=name_of)
def test_a_plugin_never_imports_another(path):
    own = path.relative_to(ROOT / "plugins").parts[1]
    assert not {name for module in imports(tree(path)) if (name := top(module)).startswith("ponder_") and name != own}


@every_source
def test_a_file_is_at_most_400_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@every_source
def test_a_function_is_at_most_60_lines(path):
    functions = [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {
        node.name: size for node in functions if (size := node.end_lineno - node.lineno + 1) > MOST_LINES_OF_A_FUNCTION
    }
    assert long == {}


@every_source
def test_nothing_evaluates_text(path):
    calls = [node.func for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    plain = {call.id for call in calls if isinstance(call, ast.Name)}
    dotted = {call.attr for call in calls if isinstance(call, ast.Attribute)}
    assert not plain & FORBIDDEN_CALLS
    assert not dotted & (FORBIDDEN_CALLS - {"eval", "exec"})  # `model.eval()` is torch's switch


@every_source
def test_nothing_starts_a_shell(path):
    calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    words = {ast.unparse(call.func) for call in calls}
    assert not words & {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
    assert not [call for call in calls for keyword in call.keywords if keyword.arg == "shell"]


@every_source
def test_nothing_is_unpickled(path):
    module = tree(path)
    assert path in MAY_PICKLE or not {top(name) for name in imports(module)} & UNPICKLERS
    words = {ast.unparse(node) for node in ast.walk(module) if isinstance(node, ast.Attribute)}
    assert not words & {"torch.load", "torch.save", "np.load", "numpy.load"}


def loaded_by(statement):
    """Top-level names of the modules that a fresh interpreter has after a statement."""
    program = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )


def test_importing_ponder_loads_neither_torch_nor_plugins():
    loaded = loaded_by("import ponder")
    assert not loaded & HEAVY
    assert not {name for name in loaded if name.startswith("ponder_")}


def test_importing_the_kit_for_plugin_authors_loads_nothing_heavy():
    assert not loaded_by("from ponder.testing import *\nfrom ponder.testing import pytest_plugin") & HEAVY


def test_importing_every_plugin_loads_nothing_heavy():
    names = sorted(
        {path.parent.name for path in PLUGINS if path.name == "__init__.py" and path.parent.name.startswith("ponder_")}
    )
    assert not loaded_by(f"import {', '.join(names)}") & HEAVY
