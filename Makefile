# Each target sets up .venv by itself when it is missing or stale; after that nothing here needs the network.
PYTHON ?= python3
JOBS ?= auto
ARGS ?=

# Where this is set in the environment, every command would compile torch and all the rest anew, for many seconds.
export PYTHONDONTWRITEBYTECODE :=
# Otherwise the C library gives memory back and takes it again in every training step, for some 5 % of its time.
export MALLOC_TRIM_THRESHOLD_ := 1000000000
export MALLOC_MMAP_THRESHOLD_ := 1000000000
export MALLOC_TOP_PAD_ := 100000000

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CONSTRAINTS := requirements/constraints.txt
PROJECTS := pyproject.toml $(wildcard plugins/*/pyproject.toml examples/plugins/*/pyproject.toml)
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile --constraint $(CONSTRAINTS)

.PHONY: setup demo quick test lint docs bench ui clean
.DELETE_ON_ERROR:

setup: $(STAMP) ## install everything, pinned, into .venv

$(STAMP): $(wildcard requirements/*.txt) $(PROJECTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ponder needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; choose one with: make PYTHON=python3.11 ...")'
	@echo "Installing into $(VENV) (about three minutes the first time) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) hatchling editables setuptools
	@$(PIP) --no-build-isolation --requirement requirements/dev.txt
	@touch $@

# Models this small are faster on one thread than on two that wait for each other: two cores make two stages at a time.
demo: $(STAMP) ## the main job: all of DeepSeek-R1 in miniature, twenty to thirty minutes
	OMP_NUM_THREADS=1 $(BIN)/ponder run examples/recipes/r1_mini.yaml --jobs 2 $(ARGS)
	@echo "Open the report in a browser. MLflow, of runs in runs/: make ui"

quick: $(STAMP) ## the same with smaller numbers, five minutes
	OMP_NUM_THREADS=1 $(BIN)/ponder run examples/recipes/r1_quick.yaml --jobs 2 $(ARGS)
	@echo "Open the report in a browser. MLflow, of runs in runs/: make ui"

test: $(STAMP) ## all tests; for example: make test ARGS=plugins/grpo
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --maxprocesses 8 $(ARGS)

lint: $(STAMP) ## style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy core plugins/*/ponder_* examples/plugins/*/*.py benchmarks/*.py

docs: $(STAMP) ## write docs/reference from the options' own texts
	PONDER_DISABLE_PLUGINS=brevity $(BIN)/ponder plugins docs docs/reference

bench: $(STAMP) ## one GRPO step, ours against TRL's
	$(BIN)/python benchmarks/grpo_step.py $(ARGS)

ui: $(STAMP) ## MLflow on the runs made here
	$(BIN)/mlflow server --backend-store-uri sqlite:///runs/mlflow.db --default-artifact-root runs/mlartifacts --host 127.0.0.1 --port 5000 --workers 1

clean: ## remove .venv and caches; runs stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
