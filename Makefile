# make demo        toy world -> pre-training -> evaluation -> pictures -> one table (sets up first)
# make test        lint and the test suite (sets up first)
# make setup       a virtual environment in .venv with the exact versions of constraints.txt
# make test-slow   the tests left out of `make test`: minutes each
# make lint        style alone;  make format  puts it right
# make clean       removes caches and build products, not .venv
#
# PYTHON=python3.11 make setup    with another interpreter;  VENV=/path  with another place
# PYTEST_ARGS="-k masking" make test

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Small models gain nothing from many threads and lose to their overhead.
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
export OMP_NUM_THREADS ?= $(shell [ $(CORES) -lt 4 ] && echo $(CORES) || echo 4)
# Tests: a process for each core, each of one thread.
WORKERS ?= $(shell [ $(CORES) -lt 8 ] && echo $(CORES) || echo 8)

# The environment is current if it was made from these files, in this place.
STAMP := $(VENV)/.setup-$(shell (cat setup.py constraints.txt pyproject.toml .ci/setup; pwd) | cksum | tr ' ' '-')

.PHONY: setup test test-slow lint format demo clean
.DEFAULT_GOAL := setup

setup: $(STAMP)
	@:

$(STAMP):
	@PYTHON='$(PYTHON)' bash .ci/setup '$(VENV)'
	@rm -f $(VENV)/.setup-*
	@touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow' -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

test-slow: setup
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

demo: setup
	$(BIN)/python tools/demo.py $(DEMO_ARGS)

clean:
	rm -rf build dist .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
