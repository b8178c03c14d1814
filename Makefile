PYTHON ?= python3
BIN := .venv/bin
DATA ?=
TORCH ?= 2.8.0
PYTEST = $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

.PHONY: help install demo test test-all test-torch check bench

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

# pip finds the torchvision that fits. torchaudio 2.11 no longer says which torch it needs: one that is not older.
test-torch: BIN := .venv-torch-$(TORCH)/bin
test-torch:  ## the tests of networks with another torch (TORCH=2.8.0), in an environment of its own
	$(PYTHON) -m venv .venv-torch-$(TORCH)
	grep -vE '^(torch|triton|nvidia|cuda|setuptools)' constraints.txt > $(BIN)/constraints.txt
	printf '%s\n' 'torch==$(TORCH)' 'torchaudio<=$(TORCH)' >> $(BIN)/constraints.txt
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1" --constraint constraints.txt
	$(BIN)/python -m pip install --quiet --editable . --group dev --constraint $(BIN)/constraints.txt
	$(PYTEST) tests/acoustic_kit/nn tests/acoustic_kit/training tests/acoustic_kit/features tests/recipes

check: install  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: install  ## the speed of features and store, each against its named peer
	@for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done
