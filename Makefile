# One-command doors. Each one sets up what it needs: a virtual environment in .venv with the pinned versions,
# made once and again only when the pins change.

# the first that runs and is supported: a name alone may be a shim of a version manager that has not got it
NAMES := python3.11 python3.12 python3.13 python3.14 python3
PYTHON ?= $(shell for name in $(NAMES); do $$name cspine_assets/cli/systems.py 2>/dev/null && command -v $$name && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help setup demo dev up test test-pythons test-oldest test-newest check bench docs clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): constraints.txt pyproject.toml
	@$(or $(PYTHON),python3) cspine_assets/cli/systems.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

setup: $(READY) ## the virtual environment with pinned versions

demo: $(READY) ## a synthetic cohort through the whole study, on a laptop's CPU
	$(BIN)/cspine demo

dev: $(READY) ## the Dagster page on 127.0.0.1
	$(BIN)/cspine dev

up: $(READY) ## page and daemon, kept running on 127.0.0.1
	$(BIN)/cspine up

# TESTS: files or folders of tests, and options of pytest
test: $(READY) ## all tests; they need Chromium; TESTS=PATH for a part
	@$(BIN)/python -m cspine_assets_tests.chromium
	$(BIN)/python -m pytest $(TESTS)

test-pythons: ## demo and tests with each supported Python, in empty environments; VERSIONS="3.13 3.14", TESTS=PATH
	TESTS="$(TESTS)" .ci/test-pythons $(VERSIONS)

# the oldest numpy and scipy have no build for a newer Python
$(VENV)-oldest/.ready: constraints-oldest.txt pyproject.toml
	@$(or $(PYTHON),python3) -c 'import sys; sys.exit(None if sys.version_info[:2] in ((3, 11), (3, 12)) else "expected Python 3.11 or 3.12 for the oldest packages, got %s.%s: call make with PYTHON=/path/to/it." % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/python -m pip install --quiet --constraint constraints-oldest.txt --editable '.[test]'
	@touch $@

test-oldest: $(VENV)-oldest/.ready ## the tests with the oldest packages that pyproject.toml allows; TESTS=PATH
	$(VENV)-oldest/bin/python -m pytest $(TESTS)

test-newest: ## the tests with the newest packages that pyproject.toml allows; TESTS=PATH
	@$(or $(PYTHON),python3) cspine_assets/cli/systems.py
	$(PYTHON) -m venv --clear $(VENV)-newest
	$(VENV)-newest/bin/python -m pip install --quiet --editable '.[test]'
	$(VENV)-newest/bin/python -m pytest $(TESTS)

check: $(READY) ## format, lint, types, import law, definitions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/dg check defs
	$(BIN)/dagster definitions validate

SIZE ?= usual
PAGE ?= docs/benchmarks.md
bench: $(READY) ## time and memory beside targets, in under 30 minutes; SIZE=smallest, usual or large; writes PAGE
	$(BIN)/python -m pip install --quiet --constraint constraints.txt medpy
	$(BIN)/python -m benchmarks --size $(SIZE) --page $(PAGE)

docs: $(READY) ## the pictures of the README and the page of the database, made anew
	$(BIN)/python docs/make_pictures.py
	$(BIN)/python docs/make_sql_page.py

clean: ## forget the virtual environments
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-newest
