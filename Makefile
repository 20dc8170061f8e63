# On a fresh machine with Python 3.11 and make: `make demo` runs the main job. With Node as well, `make test` passes the
# tests; it installs Debian's chromium where there is none.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
QUIET := --quiet --disable-pip-version-check

NODE_READY := labextension/node_modules/.package-lock.json

.PHONY: demo test test-all check numeric ready lint lint-typescript environments labextension chromium lab docs screenshots
.PHONY: wheel binder-check bench setup clean

demo: setup
	$(BIN)/python notebooks/run.py 00_quickstart

# what waits for downloads runs beside what computes
test test-all environments environment-%: export HWPRUNE_ENVIRONMENTS = $(CURDIR)/build/environments
test:
	$(MAKE) --jobs 3 ready
	$(MAKE) check

ready: environments labextension chromium

check:
	$(MAKE) --jobs 2 lint lint-typescript
	$(BIN)/pytest -n 2 --dist loadscope -m "not heavy" --ignore tests/browser
	$(BIN)/pytest -n 2 --dist loadscope tests/browser

# what `make test` leaves out for time: environments of their own, and installations that are killed
test-all: test
	$(BIN)/pytest -n 2 --dist loadscope -m heavy --ignore tests/browser

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lint-typescript:
	npm --prefix labextension run check

# toolchains and tools in environments of their own, several at a time, by the project's own command; for tests, which
# their licences allow
ENVIRONMENTS := ethos-u xla executorch deepsparse sparseml tvm iree qnn rknn litert sparsezoo
environments: $(ENVIRONMENTS:%=environment-%)

environment-%: setup
	$(BIN)/python -m jupyter_hwprune setup $* --accept-licence

# the tests with numbers in them, in the instruction sets of other chips: a bound must hold for the arithmetic on any
NUMERIC := calibration solver importance masks permutation graph architectures taylor plan
numeric: setup
	for set in ATEN_CPU_CAPABILITY=default ATEN_CPU_CAPABILITY=avx2 \
		ONEDNN_MAX_CPU_ISA=SSE41 ONEDNN_MAX_CPU_ISA=AVX2 ONEDNN_MAX_CPU_ISA=AVX512_CORE; do \
		echo $$set; \
		env $$set $(BIN)/pytest -q -n 2 --dist loadscope $(NUMERIC:%=tests/test_%.py) || exit 1; \
	done

labextension: $(NODE_READY)
	npm --prefix labextension run build

$(NODE_READY): labextension/package-lock.json
	npm --prefix labextension ci --no-audit --no-fund
	touch $@

chromium:
	command -v chromium >/dev/null || { apt-get update -qq && apt-get install -qq chromium; }

lab: setup labextension
	$(BIN)/jupyter-builder develop --overwrite .
	$(BIN)/jupyter lab notebooks

docs: setup
	$(BIN)/sphinx-build -W --keep-going -n -q docs build/docs

screenshots: setup labextension chromium
	$(BIN)/python docs/screenshots.py

wheel: setup
	$(BIN)/python -m build --outdir dist

binder-check:
	$(PYTHON) binder/check.py

bench: setup
	$(BIN)/python -m benchmarks.cpu
	$(BIN)/python -m benchmarks.load_time

setup: $(READY)

# torch first and held by the constraints, so that no other package brings a build of its own
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install $(QUIET) --constraint constraints.txt torch
	$(BIN)/pip install $(QUIET) --constraint constraints.txt --editable ".[lab,docs,dev]"
	touch $(READY)

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache
	rm -rf labextension/node_modules labextension/lib jupyter_hwprune/labextension
