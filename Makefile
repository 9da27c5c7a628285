# `make demo`: train, measure and watch a team.   `make test`: the whole suite.   `make check`: everything but the tests.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
DEMO   ?= runs/demo
JOBS   ?= auto

# Exact versions for every call of pip, also for those that it starts itself to build this package.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Idle OpenMP threads sleep: spinning ones take the cores from whoever has work.
export OMP_WAIT_POLICY := passive
PIP   := $(VENV)/bin/python -m pip install --quiet -c constraints.txt
MARL  := $(VENV)/bin/marl

.DEFAULT_GOAL := help
.PHONY: help install demo test test-envs test-gpu probes check format clean

help:
	@sed -n '1s/^# //p' Makefile

install: $(VENV)/.installed

# An earlier demo is left alone: the next one gets a number.
demo: $(VENV)/.installed
	@set -e; run=$(DEMO); n=1; while [ -e "$$run" ]; do n=$$((n + 1)); run=$(DEMO)-$$n; done; \
	$(MARL) train mappo particle/spread --max-minutes 1 --run-dir "$$run"; \
	printf '\nWhat the team has learnt:\n'; $(MARL) evaluate "$$run" --record 1; \
	printf '\nThe same episodes played at random:\n'; $(MARL) evaluate particle/spread; \
	printf '\nPictures:\n'; $(MARL) watch "$$run" --gif "$$run/spread.gif"; \
	$(MARL) plot "$$run" --out "$$run/learning.png"; \
	printf '\n%s\n%s\n' "Look at it:  $(MARL) watch $$run" "Go on:       $(MARL) resume $$run"

test: $(VENV)/.installed-dev
	$(VENV)/bin/python -m pytest -q -n $(JOBS) --maxprocesses 8 --dist worksteal

# Every probe for every learner, into results/probes.json and docs/probes.md; CI runs each once per core of learners.
probes: $(VENV)/.installed-dev
	$(VENV)/bin/python results/probes.py --workers $(JOBS)

# Other people's environments, all of them anew: each examined and trained on for 2,000 steps; three minutes, more on a busy machine.
test-envs: $(VENV)/.installed-dev
	$(VENV)/bin/python -W ignore results/peers.py --again

# Every game's rules compiled to PTX, and run under the CUDA simulator by the options of the contract tests, without a GPU; CI
# compiles one game of each family. Two minutes, more where these games were never compiled for the processor.
test-gpu: $(VENV)/.installed-dev
	EVERY_GAME=1 $(VENV)/bin/python -m pytest -q tests/gpu

check: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/codespell $$(git ls-files)
	$(VENV)/bin/python -m pytest -q tests/test_floors.py tests/test_sizes.py

format: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Debian's Python lacks ensurepip unless python3-venv is installed: pip then fills the environment from outside.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with PYTHON=...")'
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { \
	    $(PYTHON) -m venv --clear --without-pip $(VENV) && \
	    $(PYTHON) -m pip --python $(VENV)/bin/python install --quiet -c constraints.txt pip; }

$(VENV)/.installed: constraints.txt pyproject.toml setup.py | $(VENV)/bin/python
	@echo "Installing what constraints.txt pins into $(VENV) (once; some minutes)"
	@$(PIP) -e .
	@touch $@

$(VENV)/.installed-dev: constraints.txt pyproject.toml setup.py | $(VENV)/bin/python
	@echo "Installing what constraints.txt pins into $(VENV), with what checks and tests need (once; some minutes)"
	@$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.installed
