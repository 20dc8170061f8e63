# On a fresh machine with Python 3.11 and make: `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
QUIET := --quiet --disable-pip-version-check

.PHONY: demo test check lab bench setup clean

demo: setup
	$(BIN)/python notebooks/run.py 00_quickstart

# DeepSparse, SparseML and SparseZoo in environments of their own, by the project's own command; for tests, which
# DeepSparse's licence allows
test: export HWPRUNE_ENVIRONMENTS = $(CURDIR)/build/environments
test: setup
	$(BIN)/python -m jupyter_hwprune setup deepsparse --accept-licence
	$(BIN)/python -m jupyter_hwprune setup sparseml
	$(BIN)/python -m jupyter_hwprune setup sparsezoo
	$(MAKE) check

check:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist loadscope

lab: setup
	$(BIN)/jupyter lab notebooks

bench: setup
	$(BIN)/python -m benchmarks.cpu
	$(BIN)/python -m benchmarks.load_time

setup: $(READY)

# torch first and held by the constraints, so that no other package brings a build of its own
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install $(QUIET) --constraint constraints.txt torch
	$(BIN)/pip install $(QUIET) --constraint constraints.txt --editable ".[lab,dev]"
	touch $(READY)

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache
