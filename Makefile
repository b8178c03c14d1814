PYTHON ?= python3
BIN := .venv/bin
DATA ?=
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

.PHONY: help install demo test test-all check bench

help:  ## what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

install: .venv/installed  ## make .venv with akit and the tools to develop it

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1" --constraint constraints.txt
	$(BIN)/python -m pip install --quiet --editable . --group dev --constraint constraints.txt
	touch $@

demo: install  ## the main job, from sound to a checked submission (DATA=folder: on your own clips)
	$(BIN)/akit demo demo $(if $(DATA),--data "$(DATA)")

test: install  ## the test suite
	$(PYTEST)

test-all: install  ## the test suite with its slow tests
	$(PYTEST) -m ""

check: install  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: install  ## the speed of features and store, each against its named peer
	@for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done
