# Everything a person does here. Needs Python 3.11 or newer and a package index; writes nothing outside this folder.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip --disable-pip-version-check install --quiet
TORCH  ?= torch==2.13.0

.DEFAULT_GOAL := help
.PHONY: help demo install test test-all coverage lint format schemas bench clean

help:                ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

demo: $(VENV)/.base  ## E. coli proteome → packed shards → one epoch of batches
	$(BIN)/pipeline run workflows/quickstart.toml

install: $(VENV)/.test  ## .venv with everything that development and tests need

test: $(VENV)/.test lint  ## lint, then every test but the slow ones
	$(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile

test-all: $(VENV)/.test lint  ## also the slow campaigns, and ten times as many examples of each property
	$(BIN)/python -m pytest --hypothesis-profile=thorough

coverage: $(VENV)/.test  ## every test but the slow ones, and the lines that none of them runs
	$(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile --cov --cov-report=term

lint: $(VENV)/.test  ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.test  ## let ruff lay out the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schemas: $(VENV)/.test  ## write schemas/ anew from the models
	$(BIN)/python -m pipeline.schema_export schemas

bench: $(VENV)/.bench  ## benchmarks, each prints a table
	$(BIN)/python tests/benchmarks/ingesting.py
	$(BIN)/python tests/benchmarks/clustering.py
	$(BIN)/python tests/benchmarks/packers.py
	$(BIN)/python tests/benchmarks/laying_out.py
	$(BIN)/python tests/benchmarks/writing.py
	$(BIN)/python tests/benchmarks/reading.py
	$(BIN)/python tests/benchmarks/executors.py
	$(BIN)/python tests/benchmarks/scheduling.py --tasks 10000

clean:               ## remove what make made
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: pyproject.toml | $(VENV)/bin/python
	$(PIP) --editable .
	@touch $@

# torch first and by version: the newest one would bring gigabytes of CUDA to a machine that may have no GPU.
$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(PIP) $(TORCH)
	$(PIP) --editable '.[torch,test]'
	@touch $@ $(VENV)/.base

$(VENV)/.bench: $(VENV)/.test
	$(PIP) --editable '.[torch,test,bench]'
	@touch $@
