# `make demo` and `make test` set up what they need: Python 3.11 or newer and make are enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help demo test test-slow test-slow-coverage test-slow-trouble test-slow-engines test-slow-others lint bench docs atlas clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | column -ts "$$(printf '\t')"

$(VENV)/run.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "closerlook needs Python 3.11 or newer; this is %s. Try: make PYTHON=python3.12 ..." % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(VENV)/docs.stamp: $(VENV)/dev.stamp
	$(PIP) install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@

demo: $(VENV)/run.stamp  ## Train a small Hopper agent, measure it, write a page about it: about three minutes
	$(BIN)/closerlook demo --out demo

lint: $(VENV)/dev.stamp  ## Style, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# the commands that tests start, a hundred, find modules compiled
test: export PYTHONDONTWRITEBYTECODE =
test: lint  ## Lint, then every test that is not slow
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

$(VENV)/tensorboard.stamp: $(VENV)/dev.stamp
	$(PIP) install --quiet --constraint constraints.txt --editable '.[tensorboard]'
	@touch $@

$(VENV)/ray.stamp: $(VENV)/dev.stamp
	$(PIP) install --quiet --constraint constraints.txt --editable '.[ray]'
	@touch $@

$(VENV)/watched.stamp: $(VENV)/tensorboard.stamp
	$(PIP) install --quiet --constraint constraints.txt --editable '.[watched]'
	@touch $@

SLOW := $(BIN)/python -m pytest -m slow --numprocesses 2
COVERAGE := $(addprefix tests/reference/test_,coverage.py gradient_quality.py monitor_chain.py monitor_estimates.py value_prediction.py) \
	$(addprefix tests/unit/test_,landscape_coverage.py landscape_trouble.py trust_region.py)
TROUBLE := tests/learning/test_chaos.py \
	$(addprefix tests/unit/test_,extreme_commands.py folder_trouble.py fuzz.py hostile_files.py)
ENGINES := $(addprefix tests/learning/test_,engines.py engine_chaos.py ray.py)

test-slow: test-slow-coverage test-slow-trouble test-slow-engines test-slow-others  ## The tests that take minutes

test-slow-coverage: $(VENV)/dev.stamp  ## How often intervals hold the truth
	$(SLOW) $(COVERAGE)

test-slow-trouble: $(VENV)/dev.stamp  ## Kills, full disks, extreme commands, hostile files
	$(SLOW) $(TROUBLE)

test-slow-engines: $(VENV)/ray.stamp  ## Workers of every kind: same bytes, kills, odd machines
	$(SLOW) --numprocesses 0 $(ENGINES)

test-slow-others: $(VENV)/watched.stamp  ## Equality with other libraries, learning, the wheel
	$(SLOW) $(addprefix --ignore=,$(COVERAGE) $(TROUBLE) $(ENGINES))

bench: $(VENV)/dev.stamp  ## Speed of sampling and of measurements, as ratios with medians: docs/development/benchmarks.md
	$(BIN)/python benchmarks/sampling.py
	$(BIN)/python benchmarks/gradients.py
	$(BIN)/python benchmarks/pool.py
	$(BIN)/python benchmarks/naive.py
	$(BIN)/python benchmarks/values.py
	$(BIN)/python benchmarks/fit.py
	$(BIN)/python benchmarks/landscape.py
	$(BIN)/python benchmarks/fisher.py
	$(BIN)/python benchmarks/natural.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/imported.py
	$(BIN)/python benchmarks/foretold.py
	$(BIN)/python benchmarks/checkup.py
	$(BIN)/python benchmarks/studies.py
	$(BIN)/python benchmarks/workers.py
	$(BIN)/python benchmarks/monitor.py

atlas: $(VENV)/run.stamp  ## Train the agents of atlas/ and pack them: hours on two cores; goes on where it stopped
	$(BIN)/closerlook atlas --runs runs/atlas --out atlas

docs: $(VENV)/docs.stamp  ## Write the generated pages and build the site into site/
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict

clean:  ## Remove the environment and everything built
	rm -rf $(VENV) site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
