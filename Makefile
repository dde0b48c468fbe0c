# make venv | demo | test | test-quick | test-numerical | test-container | test-trixie | test-engines | docs | tutorial | release-check | lint | lock | clean.  Needs Python 3.10 to 3.13, 4 GB of disk.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := .venv/bin
# Two processes, as TensorFlow needs over a gigabyte in each; a file's tests stay together, for they share fixtures, and
# files come in the order of tests/conftest.py.
PYTEST_WORKERS := -n 2 --dist loadfile --no-loadscope-reorder

export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: help venv demo test test-quick test-numerical test-container test-trixie test-engines docs tutorial release-check lint lock clean

help:
	@sed -n '1s/^# //p' Makefile

# `make PYTHON=python3.12 venv` names another Python than scripts/choose_python.sh finds.
venv:
	@scripts/venv.sh

demo: venv
	$(BIN)/tfx-pruning run --root demo_output --hparams granularity=channel

test: venv
	$(BIN)/python -m pytest $(PYTEST_WORKERS)

test-quick: venv
	$(BIN)/python -m pytest $(PYTEST_WORKERS) -m "not e2e and not slow"

# What depends on the kernels of the processor, with those that `make test` leaves out: oneDNN's, or TensorFlow's own where
# oneDNN's are the default.
test-numerical: venv
	onednn=$$($(BIN)/python scripts/other_kernels.py) && echo "TF_ENABLE_ONEDNN_OPTS=$$onednn" && \
	    TF_ENABLE_ONEDNN_OPTS=$$onednn $(BIN)/python -m pytest $(PYTEST_WORKERS) -m numerical

# Not part of `test`: it needs root, podman and 12 GB of disk.
test-container: venv
	tests/container/run.sh

# Nor is this: it needs root, debootstrap and 12 GB of disk.
test-trixie:
	tests/trixie/run.sh

# Nor is this: it needs Go, builds Beam's Prism with it, and takes ten minutes.
test-engines: venv
	tests/engines/run.sh

# The site of docs/, in build/site; `.venv/bin/mkdocs serve` shows it as you write.
docs: venv
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo build/site/index.html

# Runs docs/tutorial.ipynb, and keeps its outputs in the file.
tutorial: venv
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python scripts/run_tutorial.py

# Not part of `test`: it makes an environment from nothing.
release-check: venv
	scripts/release_check.sh

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lock: venv
	scripts/lock.sh

clean:
	rm -rf .venv build dist demo_output container_output trixie_output engines_output *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
