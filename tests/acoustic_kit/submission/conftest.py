"""Files and tables for tests of submissions."""

import polars as pl
import pytest


@pytest.fixture(scope="session")
def write():
    """Write a text to a file, and return the path."""

    def write(path, text):
        path.write_bytes(text.encode())
        return path

    return write


@pytest.fixture(scope="session")
def labels():
    """The truth as a table, from id → labels."""
    return lambda truth: pl.DataFrame(
        {"id": list(truth), "label": list(truth.values())}, schema_overrides={"label": pl.List(pl.String)}
    )
