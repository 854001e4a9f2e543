# Everything runs in .venv, which the first target that needs it creates. `make` alone lists the targets.

PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL := -m pip install -c constraints.txt
CLEAN_VENV := build/clean-venv

.DEFAULT_GOAL := help
.PHONY: help venv demo test lint types layers docs wheel clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

venv: .venv/created ## create .venv

.venv/created: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --upgrade pip
	touch $@

# The package, editable, with the extra named by the stamp.
.venv/installed-%: .venv/created
	$(BIN)/python $(PIP_INSTALL) -e ".[$*]"
	touch $@

demo: .venv/installed-demo ## run the demonstration
	$(BIN)/deeppot demo

test: .venv/installed-test ## run the fast tests, several files at a time
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

lint: .venv/installed-dev ## check style
	$(BIN)/ruff check .

types: .venv/installed-dev ## check annotations
	$(BIN)/mypy

layers: .venv/installed-dev ## check which module imports which
	$(BIN)/lint-imports

docs: .venv/installed-dev ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

wheel: .venv/installed-dev ## build sdist and wheel into dist/, and use the wheel in an empty environment
	rm -rf build dist
	$(BIN)/python -m build --outdir dist
	$(PYTHON) -m venv $(CLEAN_VENV)
	$(CLEAN_VENV)/bin/python -m pip install --upgrade pip
	$(CLEAN_VENV)/bin/python $(PIP_INSTALL) dist/*.whl
	cd / && "$(CURDIR)/$(CLEAN_VENV)/bin/deeppot" info water
	cd / && "$(CURDIR)/$(CLEAN_VENV)/bin/python" "$(CURDIR)/.ci/evaluate_water.py"
	rm -rf build

clean: ## remove what was built, except .venv
	rm -rf build dist site demo-output *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
	rm -rf .import_linter_cache
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
