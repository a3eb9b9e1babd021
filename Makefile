# DecoFuse: `make reproduce` and `make test` are all that a fresh machine needs.

PRESET ?=
PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH ?=
RESULTS ?=
PORT ?= 5000
bin := .venv/bin
ready := .venv/.ready
checked := src workflow tests benchmarks docs

# What `make ui` starts would else report its use to its makers.
export MLFLOW_DISABLE_TELEMETRY ?= true

.PHONY: help setup reproduce test test-slow check format docs bench lock ui clean
.DEFAULT_GOAL := help

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: $(ready) ## Make .venv from the locked versions

$(ready): requirements.lock pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(0 if sys.version_info[:2] == (3, 11) else f"Python 3.11 is needed, found {sys.version.split()[0]} at {sys.executable}; install it, or name it: make PYTHON=/path/to/python3.11")'
	@echo "Setting up .venv from requirements.lock: about 2 GB, some minutes."
	@"$(PYTHON)" -m venv .venv
	@$(bin)/python -m pip install --quiet --disable-pip-version-check $(TORCH) -r requirements.lock
	@$(bin)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(ready)
	@echo "Ready. Next: make reproduce, or make test."

reproduce: $(ready) ## Run a preset from data to results: make reproduce PRESET=roadscene
	@$(bin)/decofuse config $(if $(PRESET),--preset $(PRESET)) > /dev/null
	@echo "Reproducing $(or $(PRESET),the preset of params.yaml): results go to results/."
	@$(bin)/snakemake $(if $(PRESET),--config preset=$(PRESET))
	@echo "Done. Open results/report.html in a browser, or the tracked runs: make ui"

test: $(ready) check ## Run the checks and the tests
	@echo "Running the tests."
	@$(bin)/pytest -m "not slow" -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-slow: $(ready) ## Run the tests that take long
	@$(bin)/pytest -m slow

check: $(ready) ## Run the linters and the type checker
	@echo "Checking format, style and types."
	@$(bin)/ruff format --check $(checked)
	@$(bin)/ruff check $(checked)
	@$(bin)/snakefmt --check Snakefile workflow
	@$(bin)/mypy

format: $(ready) ## Format all code
	@$(bin)/ruff format $(checked)
	@$(bin)/ruff check --fix $(checked)
	@$(bin)/snakefmt Snakefile workflow

docs: $(ready) ## Make docs and dvc.yaml from the code again (after a new demo run: make docs RESULTS=--results)
	@$(bin)/python docs/generate.py $(RESULTS)
	@$(bin)/python workflow/versioning.py generate

bench: $(ready) ## Measure the claims of docs/performance.md
	@$(bin)/python benchmarks/patches.py
	@$(bin)/python benchmarks/restormer.py
	@$(bin)/python benchmarks/metrics.py
	@$(bin)/python benchmarks/tiling.py
	@$(bin)/python benchmarks/startup.py

ui: $(ready) ## Show the tracked runs in a browser: make ui PORT=5000
	@echo "Open http://127.0.0.1:$(PORT)/#/experiments/1/runs?workflowType=machine_learning (stop with Ctrl-C)."
	@$(bin)/mlflow ui --host 127.0.0.1 --port $(PORT) --backend-store-uri "sqlite:///$(CURDIR)/mlflow.db"

lock: ## Resolve the dependencies anew and write requirements.lock
	@"$(PYTHON)" -m venv .lock-venv
	@.lock-venv/bin/python -m pip install --quiet torch==2.13.0
	@.lock-venv/bin/python -m pip install --quiet -e '.[dev]'
	@.lock-venv/bin/python -m pip freeze --all --exclude pip --exclude-editable \
		| sed -E 's/^(torch==[0-9.]+)\+.*/\1/' | grep -viE '^(nvidia|cuda|triton|--|-f|#)' > requirements.lock
	@rm -r .lock-venv

clean: ## Remove what tests and tools leave behind; data and results stay
	@rm -rf .pytest_cache .ruff_cache .mypy_cache logs
