# Every target makes what it needs: `.venv` comes from the hashed requirements, nothing is installed outside it
# but the runtime of the embedded database, which goes to the user's cache once.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

LOCK = $(VENV)/lock/bin/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
  --no-emit-index-url --no-header pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help demo test lint types check bench benchmarks docs lock clean

help: ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 10

demo: $(VENV)/demo.stamp ## real market data through an embedded TimescaleDB, with a chart
	$(BIN)/datalayer demo

test: $(VENV)/dev.stamp ## all tests on the embedded TimescaleDB, or on the server named by DATALAYER_TEST_URL
	$(BIN)/pytest

lint: $(VENV)/dev.stamp ## ruff, and the one-way imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/dev.stamp ## mypy, strict
	$(BIN)/mypy

check: lint types docs test ## what CI runs

bench: $(VENV)/bench.stamp ## every target beside what is measured now, and the page of it
	$(BIN)/python -m benchmarks.targets

benchmarks: $(VENV)/bench.stamp ## all benchmarks at full length, beside the alternatives (an hour)
	for name in bulk_write bulk_read validation indicators value_types streaming backtesting cache_reads bulk_load ingestion migration read_latency provider concurrency annotations; do $(BIN)/python -m benchmarks.$$name || exit 1; done

docs: $(VENV)/dev.stamp ## the documentation as a site, every link checked
	$(BIN)/mkdocs build --strict --quiet

lock: ## resolve requirements/ anew from pyproject.toml
	$(PYTHON) -m venv $(VENV)/lock
	$(VENV)/lock/bin/pip install --quiet uv
	$(LOCK) --extra embedded --extra plot --group demo -o requirements/demo.txt
	$(LOCK) --extra dashboard --extra feeds --extra indicators --extra metrics --group demo -o requirements/service.txt
	$(LOCK) --all-extras --group dev -o requirements/dev.txt
	$(LOCK) --all-extras --group demo --group bench -o requirements/bench.txt

clean: ## remove what the other commands made
	rm -rf $(VENV) dist build site demo-output .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/%.stamp: requirements/%.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --require-hashes -r $<
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
