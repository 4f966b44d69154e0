# Needs Python >= 3.11, make and git; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Where this is set, each of the many programs that tests and fleets start would compile all of its modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo up test chaos eval check generate format lock llm deb clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(STAMP) ## Install everything into .venv

$(STAMP): requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "OrQuanta needs Python 3.11 or newer; run: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Setting up .venv (about a minute, once) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP) ## Run the main job for real: a fleet of three hosts, goals in plain words, faults, the bill
	@$(BIN)/python -m bench.demo

up: $(STAMP) ## Start a control plane and one host with virtual GPUs, and leave them running
	@$(BIN)/orquanta up --virtual-gpus 8xH100

test: $(STAMP) ## Run all tests, on SQLite and PostgreSQL, with a real nats-server
	@$(BIN)/python -m pytest -n 4 --dist worksteal # on two cores, too: many tests wait for programs most of their time

chaos: $(STAMP) ## Kill, stop and cut every part for ten minutes while 2,000 jobs run, and balance the books
	@$(BIN)/python -m chaos

eval: $(STAMP) ## Run the evals: goals, attacks, faults, loops; with the local model too, if `make llm` has built it
	@$(BIN)/python -m evals

check: $(STAMP) ## Run linters, type checks, layer contracts and the generated-code check
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/buf lint && $(BIN)/buf format -d --exit-code
	@$(BIN)/python tools/check_breaking.py
	@$(BIN)/python tools/check_generated.py
	@echo "All checks passed."

generate: $(STAMP) ## Rebuild the committed protobuf code
	@rm -f clients/python/orquanta/v1/*_pb2*
	@$(BIN)/buf generate

format: $(STAMP) ## Format and fix what can be fixed
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix . && $(BIN)/buf format -w

lock: $(STAMP) ## Pin every dependency again, with hashes
	@env -u PIP_FIND_LINKS UV_FIND_LINKS= $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --universal --python-version 3.11 \
		--all-extras --group dev --no-header --no-emit-index-url --no-emit-find-links pyproject.toml -o requirements-dev.txt

llm: $(STAMP) ## Build a small real language model for tests and evals into the cache (about 12 minutes, once)
	@$(BIN)/python tools/llama_server.py

deb: $(STAMP) ## Build the Debian package of the daemon into dist/
	@$(BIN)/python tools/build_deb.py

clean: ## Remove what was built
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
