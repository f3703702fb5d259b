# Set-up, tests and checks; needs Python 3.11 or newer, pip and make. All of it stays in .venv and .cache.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
APP_READY := $(VENV)/.app-ready
DEV_READY := $(VENV)/.dev-ready
SOURCES := engine storage tui
CHECKED := $(SOURCES) tests bench translation

.DEFAULT_GOAL := help
.PHONY: help run test check format texts pictures bench constraints clean

help:  ## Show what make can do.
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

run: $(APP_READY)  ## Install, fetch the starter model once, open the app (ARGS="--continue" …).
	@$(BIN)/python -P -m tui models pull smollm2 >/dev/null || echo "Opening the app without the starter model." >&2
	@$(BIN)/python -P -m tui $(ARGS)

# Three at a time on two cores: an engine's tests compute while the app's wait.
test: $(DEV_READY)  ## Install, run all tests (ARGS="tests/tui -k ask", ARGS="-n0 --pdb" …).
	@$(BIN)/python -m pytest -n3 --dist worksteal $(ARGS)

check: $(DEV_READY)  ## Format, lint, strict types, import contracts.
	@$(BIN)/ruff format --check $(CHECKED)
	@$(BIN)/ruff check $(CHECKED)
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(DEV_READY)  ## Put all files into the house format.
	@$(BIN)/ruff format $(CHECKED)
	@$(BIN)/ruff check --fix $(CHECKED)

texts: $(DEV_READY)  ## Take new texts into the catalogues of tui/locale, and compile them.
	@$(BIN)/python translation

pictures: $(DEV_READY)  ## Take the pictures of all screens anew; bench/pictures.py shows them.
	@LLM_TUI_TAKE_PICTURES=1 $(BIN)/python -m pytest -n2 tests/tui/test_pictures.py $(ARGS)

bench: $(APP_READY)  ## Measure side by side with llama.cpp (ARGS="MODEL.gguf --threads 2" …).
	@$(BIN)/python bench/compare.py $(ARGS)

constraints: $(DEV_READY)  ## Pin what is installed now.
	@{ sed -n '/^#/p' constraints.txt; $(BIN)/python -m pip freeze --exclude-editable --local; } > constraints.new
	@mv constraints.new constraints.txt

clean:  ## Remove the virtual environment and all caches of this checkout (models and sessions stay).
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Debian keeps venv's own pip in a package of its own: without it, the pip of $(PYTHON) installs one.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "llm-tui needs Python 3.11 or newer; $(PYTHON) is older or missing." >&2; \
	  echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { $(PYTHON) -m venv --clear --without-pip $(VENV) \
	  && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; } || { rm -rf $(VENV); exit 1; }

$(APP_READY): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing llm-tui into $(VENV) …" >&2
	@$(INSTALL) --editable .
	@touch $@

$(DEV_READY): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing llm-tui and its test tools into $(VENV) …" >&2
	@$(INSTALL) --editable '.[dev]'
	@touch $(APP_READY) $@
