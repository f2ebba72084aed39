# deemo_dist: `make demo` and `make test` do all the set-up by themselves on Debian with Python 3.11+ and a compiler.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
STORAGE ?= file
BENCH ?= all
TESTERS ?= 2
SEEDS ?= 3
PYTEST = $(BIN)/python -m pytest --numprocesses $(TESTERS) --no-loadscope-reorder
export RAY_USAGE_STATS_ENABLED = 0
export MLFLOW_DISABLE_TELEMETRY = true

.PHONY: help setup system demo test test-fast lint types imports format learning bench clean

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make setup      create .venv from requirements.lock (again when the lock is newer)
setup: .venv/.ready

.venv/.ready: requirements.lock pyproject.toml .ci/venv
	@PYTHON="$(PYTHON)" .ci/venv

## make demo       raw clips -> de-identified shards -> two ZeRO-3 ranks -> report [STORAGE=file|s3]
demo: setup
	@$(BIN)/deemo demo --storage $(STORAGE)

## make test       lint, types, import contracts and every test, by two processes [TESTERS=2]
test: setup system lint types imports
	@$(PYTEST)

## make test-fast  the tests without servers and whole jobs (2 to 3 minutes)
test-fast: setup
	@$(PYTEST) -m "not slow and not system"

system: setup
	@cluster/local/install-system

## make lint       ruff, linter and formatter
lint: setup
	@$(BIN)/ruff check --no-cache .
	@$(BIN)/ruff format --no-cache --check .

## make types      mypy; make imports: the contracts between the rooms
types: setup
	@$(BIN)/mypy

imports: setup
	@$(BIN)/lint-imports --no-cache

## make format     let ruff write the format
format: setup
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

## make learning   the demo trained from three seeds and from shuffled answers: accuracies and seconds [SEEDS=3]
learning: setup
	@DEEMO_LEARNING_SEEDS=$(SEEDS) $(BIN)/python -m pytest -s tests/system/test_learning.py

## make bench      ratios against named peers, in one run [BENCH=NAME] -> build/bench/NAME.json
bench: setup
	@$(BIN)/python -m tests.bench $(BENCH)

## make clean      remove build/ (the demo's work and the figures of benches) and .venv
clean:
	rm -rf build .venv
