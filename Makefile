# One-command doors. Each one sets up what it needs: a virtual environment in .venv with the pinned versions,
# made once and again only when the pins change.

# the first that runs: a name alone may be a shim of a version manager that has not got it
PYTHON ?= $(shell for name in python3.11 python3.12 python3; do $$name -c '' 2>/dev/null && command -v $$name && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help setup demo dev up test check bench docs clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): constraints.txt pyproject.toml
	@$(or $(PYTHON),python3) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 13) else f"expected Python 3.11 or 3.12, got {sys.version.split()[0]}; set PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

setup: $(READY) ## the virtual environment with pinned versions

demo: $(READY) ## a synthetic cohort through the whole study, on a laptop's CPU
	$(BIN)/cspine demo

dev: $(READY) ## the Dagster page on 127.0.0.1
	$(BIN)/cspine dev

up: $(READY) ## page and daemon, kept running on 127.0.0.1
	$(BIN)/cspine up

test: $(READY) ## all tests; they need Chromium
	@$(BIN)/python -m cspine_assets_tests.chromium
	$(BIN)/python -m pytest

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

clean: ## forget the virtual environment
	rm -rf $(VENV)
