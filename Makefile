# `make demo` and `make test` need nothing before them; everything they install stays in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
# A short PATH: pip asks any rustc it finds for its version, and rustup's makes a folder in HOME.
NO_RUSTUP := PATH=$(CURDIR)/$(BIN):/usr/bin:/bin
PIP := $(NO_RUSTUP) $(BIN)/python -m pip --disable-pip-version-check --no-cache-dir
LINKS := data extract heads pipelines

.DEFAULT_GOAL := help
.PHONY: help demo dev check test test-all cov bench dist tiny mini clean

help:            ## Show what there is to make.
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: dev        ## Install, then run the whole pipeline on the built-in set.
	$(BIN)/vidret demo

dev: $(INSTALLED)  ## Install vidret and its tools into .venv.

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "vidret needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 4; }
	$(PYTHON) -m venv --without-pip $(VENV)
	@$(NO_RUSTUP) $(BIN)/python -m ensurepip >/dev/null || \
	    { echo "this Python comes without pip: install it (on Debian: apt install python3-venv)"; exit 4; }
	$(PIP) install --quiet --constraint constraints.txt torch torchvision "setuptools>=77"
	$(PIP) install --quiet --constraint constraints.txt --no-build-isolation --editable ".[dev]"
	mkdir -p .links/vidret
	for folder in $(LINKS); do ln -sfn ../../$$folder .links/vidret/$$folder; done
	touch $(INSTALLED)

check: dev       ## Formatting, lint, layers of imports, types.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy -p vidret

test: dev        ## The quick tests.
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadgroup --no-loadscope-reorder -rs

test-all: dev    ## The quick tests and the slow ones.
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadgroup --no-loadscope-reorder -rs -m "not gpu"

cov: dev         ## The quick tests, and what they never reach.
	$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered

bench: dev       ## Compare with others and write docs/benchmarks.md; ONLY="decode gpu" takes some.
	$(BIN)/python benchmarks/run.py $(ONLY)

dist: dev        ## A wheel and a source archive in dist/.
	$(BIN)/python -m build --no-isolation

tiny: dev        ## Train the bundled encoders again: half an hour on two cores.
	$(BIN)/python -m vidret.extract.tiny.train

mini: dev        ## Draw the clips that come with the package again.
	$(BIN)/python -m vidret.data.synth.ship

clean:           ## Remove what tools leave behind, but not .venv.
	rm -rf build dist .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache *.egg-info
