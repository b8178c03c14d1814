"""The examples in docstrings."""

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize(
    "name", ["choosing", "greedy_selection", "methods", "recordings", "simplex_weights", "stacking"]
)
def test_examples_run(name):
    found = doctest.testmod(import_module(f"acoustic_kit.blending.{name}"))
    assert found.attempted
    assert found.failed == 0
