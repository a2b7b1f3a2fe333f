# The commands of this project. `make demo` and `make test` make the environment first if it is missing or out of date.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Everything that libraries want to write goes below the project's folder.
export XDG_CACHE_HOME := $(CURDIR)/.cache
export XDG_CONFIG_HOME := $(CURDIR)/.cache/config
export IPYTHONDIR := $(CURDIR)/.cache/ipython
export JUPYTER_CONFIG_DIR := $(CURDIR)/.cache/jupyter
export MPLCONFIGDIR := $(CURDIR)/.cache/matplotlib
export NUMBA_CACHE_DIR := $(CURDIR)/.cache/numba
export MLFLOW_DISABLE_TELEMETRY := true
export RAY_AUTH_MODE := disabled
export RAY_USAGE_STATS_ENABLED := 0
VIDEOS ?=
OUT ?= demo
JOBS ?= 2

.PHONY: help setup demo test lint quick docs lock clean
help:
	@echo "make demo                 prepare, train, evaluate, promote and generate on synthetic speakers; then open demo/index.html"
	@echo "make demo VIDEOS=folder   the same on your own talking videos"
	@echo "make test                 format, lint, types and all tests; JOBS=4 runs four at a time"
	@echo "make quick                the tests that take seconds"
	@echo "make docs                 the documentation as a site: build/site/index.html"
	@echo "make setup                the environment alone (.venv)"
	@echo "make lock                 renew requirements.lock.txt from pyproject.toml"
	@echo "make clean                remove the demo and the caches; the environment stays"

setup: $(STAMP)

# --no-deps: the lock is complete, and leaves out what would be dead weight (jax) or in the way (a second OpenCV).
# Then torch once more with its dependencies: a CUDA build brings libraries that the lock cannot name; a CPU build needs nothing.
$(STAMP): requirements.lock.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v in ((3, 11), (3, 12)) else "Python 3.11 or 3.12 is needed, this is %d.%d: make PYTHON=python3.12 …" % v)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps -r requirements.lock.txt
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' requirements.lock.txt)" -c requirements.lock.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: setup
	$(BIN)/a2h demo 'videos=$(VIDEOS)' 'out=$(OUT)'

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/vulture

# Two at a time, each file in one process: most tests keep one core busy. They share nothing but the machine.
test: lint
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

quick: setup
	$(BIN)/python -m pytest -m "not slow"

# Strict: a dead link, a missing page or a key that cannot be documented fails.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

lock:
	$(PYTHON) .ci/lock.py

clean:
	rm -rf demo runs results build .cache .pytest_cache .mypy_cache .ruff_cache
