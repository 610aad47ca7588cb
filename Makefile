.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
EXTRA ?=

BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --durations 10
LOCK := requirements$(EXTRA:%=-%).txt
READY := $(VENV)/installed$(EXTRA:%=-%)
COMPILE = $(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
	--generate-hashes --no-annotate --no-emit-index-url --quiet --custom-compile-command "make lock" $(UPGRADE:%=--upgrade)

# What must hold before anything is installed, in words that any Python can read.
define PREFLIGHT
import sys
if sys.version_info < (3, 11):
    sys.exit("seqgen needs Python 3.11 or newer, and %s is %s: try make PYTHON=python3.12 ..." % (sys.executable, sys.version.split()[0]))
try:
    import ensurepip, venv
except ImportError as error:
    sys.exit("%s cannot make virtual environments (%s): on Debian and Ubuntu, apt install python3-venv" % (sys.executable, error))
endef
export PREFLIGHT

.PHONY: help train test slow lint format types notebooks docs figures bench lock clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10
	@echo "EXTRA=cuda or EXTRA=tpu installs for an accelerator; PYTHON and VENV choose the interpreter and the environment."

train: $(READY) ## train attention on dates: about a minute
	$(BIN)/seqgen train dates attention

test: $(READY) ## the fast tests
	$(PYTEST)

slow: $(READY) ## the slow tests: learning claims, notebooks, whole processes; claims of bits
	$(PYTEST) -m slow
	$(PYTEST) -m bits

lint: $(READY) ## style, by ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY) ## types, by ty, as the environment's Python and NumPy have them
	$(BIN)/ty check --python $(VENV) --python-version $$($(BIN)/python -V | cut -c8-11)

notebooks: $(READY) ## each is a pair with its script, without outputs
	$(BIN)/python -m pytest -q tests/test_notebooks.py

docs: $(READY) ## pages of the READMEs and all docstrings, in build/docs
	$(BIN)/python -m experiments.site

figures: $(READY) ## runs/ -> experiments/results/ -> the READMEs' tables, and figures
	$(BIN)/python -m experiments.report

bench: $(READY) ## our speed beside PyTorch's
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/python -m experiments.speed

lock: $(READY) ## pin what pyproject.toml asks for; UPGRADE=1 moves the old pins, too
	$(COMPILE) -o requirements.txt
	$(COMPILE) -c requirements.txt --extra cuda -o requirements-cuda.txt
	$(COMPILE) -c requirements.txt --extra tpu -o requirements-tpu.txt

clean: ## forget .venv and every cache; runs/ stays
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis
	find seqgen experiments data tests -name __pycache__ -exec rm -rf {} +

$(READY): $(LOCK) pyproject.toml
	@$(PYTHON) -c "$$PREFLIGHT"
	@echo "installing $(LOCK) into $(VENV): a minute or so, once"
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r $(LOCK)
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@
