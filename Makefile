# Everything runs in a virtual environment of its own, .venv, made on the first call.

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Stamps, touched last: an installation that was cut short is done again.
READY := $(VENV)/.ready
DEV_READY := $(VENV)/.ready-dev

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help bench test report check two-runs lint clean

help:  ## what can be made
	@sed -nE 's/^([a-z]+):.*## (.*)/\1|\2/p' Makefile | awk -F'|' '{ printf "  make %-9s%s\n", $$1, $$2 }'
	@echo
	@echo "  ARGS=... is passed on to pytest:   make bench ARGS='--model cnn --batch-size 64,128'"
	@echo "  PYTHON=... makes .venv:            make bench PYTHON=python3.12"

bench: $(READY)  ## measure the quick grid, then write results/report.html
	@status=0; $(BIN)/pytest bench --benchmark-autosave $(ARGS) || status=$$?; \
	if [ $$status -gt 1 ]; then exit $$status; fi; \
	report=0; $(BIN)/python -m trainmark html || report=$$?; \
	if [ $$status -eq 0 ]; then status=$$report; fi; \
	exit $$status  # 1: a cell failed, and the report says which

test: $(READY)  ## run the tests
	$(BIN)/pytest $(ARGS)

report: $(READY)  ## write the report of the latest run
	$(BIN)/python -m trainmark html

check: two-runs $(READY)  ## judge a run by another: make check BASE=baseline NEW=latest
	$(BIN)/python -m trainmark check "$(BASE)" "$(NEW)"

two-runs:
	@[ -n "$(BASE)" ] && [ -n "$(NEW)" ] || { echo "Name two runs: make check BASE=baseline NEW=latest"; exit 2; }

lint: $(DEV_READY)  ## style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:  ## remove .venv and what the tools left behind; results stay
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c '' || { echo "No $(PYTHON) here. Name a Python: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$$($(PYTHON) --version 2>&1) is too old: trainmark needs 3.11. Name another: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
		echo "$(PYTHON) cannot make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@$(PIP) --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing into $(VENV): a few minutes and 6 GB the first time, most of it PyTorch."
	@$(PIP) install --quiet --editable '.[test]' --constraint constraints.txt
	@touch $@

$(DEV_READY): $(READY)
	@echo "Installing what make lint needs."
	@$(PIP) install --quiet --editable '.[dev]' --constraint constraints.txt
	@touch $@
