# make venv | demo | test | test-quick | test-numerical | test-container | lint | lock | clean.  Needs python3.11, pip, 4 GB of disk.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements.lock
DISK_KB := 4194304
# Two processes, as TensorFlow needs over a gigabyte in each; a file's tests stay together, for they share fixtures.
PYTEST_WORKERS := -n 2 --dist loadfile
UV_PIN := $(shell sed -n 's/^\(uv==[^ ]*\).*/\1/p' $(LOCK))

# Stamps are named by what they stand for: an unchanged lock means nothing to do, whatever the files' times say, and a
# venv whose making was cut short has none.
LOCKED := $(VENV)/.locked-$(shell { pwd; cat $(LOCK); } | sha256sum | cut -c1-16)
INSTALLED := $(VENV)/.installed-$(shell cat setup.py pyproject.toml | sha256sum | cut -c1-16)

export TF_CPP_MIN_LOG_LEVEL ?= 3
export UV_NO_PROGRESS ?= 1

.PHONY: help venv demo test test-quick test-numerical test-container lint lock clean

help:
	@sed -n '1s/^# //p' Makefile

venv: $(INSTALLED)

$(LOCKED):
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is not installed: install Python 3.11 (with venv and pip), or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "error: $(PYTHON) is not Python 3.11, which the lock is for: install Python 3.11, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "error: $(PYTHON) has no venv or pip: install python3.11-venv" >&2; exit 1; }
	@rm -rf $(VENV)
	@free=$$(df -Pk . | awk 'NR==2 {print $$4}'); [ "$$free" -ge $(DISK_KB) ] || { echo "error: $$((free / 1024)) MB of disk are free in $(CURDIR), and the packages take 4 GB: make room" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(UV_PIN)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes --compile-bytecode -r $(LOCK)
	@touch $@

$(INSTALLED): $(LOCKED)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@rm -f $(VENV)/.installed-*
	@touch $@

demo: venv
	$(BIN)/tfx-pruning run --root demo_output --hparams granularity=channel

test: venv
	$(BIN)/python -m pytest $(PYTEST_WORKERS)

test-quick: venv
	$(BIN)/python -m pytest $(PYTEST_WORKERS) -m "not e2e and not slow"

# What depends on the kernels of the processor, with those of oneDNN and without: which of them are the default depends on
# the processor.
test-numerical: venv
	for onednn in 1 0; do \
	    TF_ENABLE_ONEDNN_OPTS=$$onednn $(BIN)/python -m pytest $(PYTEST_WORKERS) -m numerical; \
	done

# Not part of `test`: it needs root, podman and 12 GB of disk.
test-container: venv
	tests/container/run.sh

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Keeps the pins that are there; remove one from the lock, or all, to let it move.
lock: venv
	$(BIN)/uv pip compile --quiet pyproject.toml --extra kubeflow --extra test --extra dev --extra benchmark \
	    --override requirements-overrides.txt --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	    --generate-hashes --no-annotate --no-header --no-emit-index-url --output-file $(LOCK)

clean:
	rm -rf $(VENV) build dist demo_output container_output *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
