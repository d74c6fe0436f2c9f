# Needs Python 3.11 or later and make, nothing else. Everything is installed into .venv.
PYTHON ?= python3
VENV ?= .venv
# Index with another PyTorch build of the same version, such as one for CPUs only: make demo TORCH_INDEX=https://...
TORCH_INDEX ?=
# More words for the command: make demo ARGS="--model gpt2-medium"
ARGS ?=

AUDIT := pip-audit==2.10.1
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --constraint constraints.txt
MADE_FROM := pyproject.toml constraints.txt

.PHONY: help demo test test-all lint format bench chaos audit clean
.DEFAULT_GOAL := help

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12
	@echo
	@echo 'Variables: ARGS (words for the command), PYTHON, VENV, TORCH_INDEX (another PyTorch build),'
	@echo '           PREFLOOP_HOME (folder of all data, default ~/.prefloop), PREFLOOP_PORT (default 8000)'

demo: $(VENV)/.demo ## Install, then start everything on this machine: make demo ARGS="--model gpt2"
	@$(BIN)/prefloop up $(ARGS)

# A process per core, each with servers of its own, and one thread in each: tiny models only wait for a second one.
test: export OMP_NUM_THREADS ?= 1
test: $(VENV)/.test ## Install with the test tools, then run the tests: make test ARGS="-k embedded"
	$(BIN)/pytest --numprocesses=logical --maxprocesses=8 --dist=loadscope $(ARGS)

test-all: $(VENV)/.test ## The tests, those of minutes included
	$(BIN)/pytest -m "not gpu" $(ARGS)

lint: $(VENV)/.test ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.test ## Put the code into its style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.test ## Run the benchmarks
	$(BIN)/python -m bench $(ARGS)

chaos: $(VENV)/.test ## Kill, starve and mislead a run that must finish: make chaos ARGS="--seed 7 --events 100"
	$(BIN)/python -m tests.chaos $(ARGS)

audit: $(VENV)/.audit $(BIN)/python ## Hold the pinned versions against known vulnerabilities: make audit ARGS=--require
	$(BIN)/python -m scripts.dependency_audit --program $(VENV)/audit/bin/pip-audit $(ARGS)

clean: ## Remove what was installed and built; data stays
	rm -rf $(VENV) build dist

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Prefloop needs Python 3.11 or later, this is " + sys.version.split()[0] + ": give another one with PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: $(BIN)/python $(MADE_FROM)
	$(if $(TORCH_INDEX),$(PIP) --no-deps --index-url $(TORCH_INDEX) torch)
	@touch $@

$(VENV)/.demo: $(VENV)/.torch
	$(PIP) --editable '.[local,train]'
	@touch $@

# In an environment of its own: what it is made of is nothing that Prefloop runs on.
$(VENV)/.audit: $(BIN)/python
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip --disable-pip-version-check install --quiet $(AUDIT)
	@touch $@

$(VENV)/.test: $(VENV)/.torch
	$(PIP) --editable '.[local,train,test]'
	@touch $@ $(VENV)/.demo
