"""Parquet files from outside: the path is no pattern, and damage is an error in one line."""

import io
import os
from pathlib import Path

import polars as pl
import pytest

from acoustic_kit.tables import read_parquet


@pytest.mark.parametrize("name", ["a [1]", "a*", "what?", "~", "%41", "k=1"])
def test_a_path_is_no_pattern(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    for other in ("a 1", "ab", "what1", "A"):
        (tmp_path / other).mkdir()
        pl.DataFrame({"x": [0]}).write_parquet(tmp_path / other / "t.parquet")
    (tmp_path / name / "t.parquet").write_bytes(_parquet(pl.DataFrame({"x": [1], "y": ["b"]})))
    assert read_parquet(tmp_path / name / "t.parquet").rows() == [(1, "b")]
    assert read_parquet(tmp_path / name / "t.parquet", ["y"]).rows() == [("b",)]


def test_what_is_no_table_is_an_oserror(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "text").write_text("PAR1 nothing")
    pl.DataFrame({"x": [1]}).write_parquet(tmp_path / "whole")
    for path, columns in (("fifo", None), ("text", None), (".", None), ("missing", None), ("whole", ["z"])):
        with pytest.raises(OSError, match=r"^[^\n]+$"):
            read_parquet(tmp_path / path, columns)


def test_a_panic_of_the_reader_is_an_oserror_and_writes_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def panic(*_: object, **__: object) -> None:
        os.write(2, b"thread panicked\nstack backtrace:\n")
        raise pl.exceptions.PanicException("called Result::unwrap()")

    (tmp_path / "t.parquet").touch()
    monkeypatch.setattr(pl, "read_parquet", panic)
    with pytest.raises(OSError, match="damaged"):
        read_parquet(tmp_path / "t.parquet")
    os.write(2, b"on again")
    assert capfd.readouterr().err == "on again"


def _parquet(frame: pl.DataFrame) -> bytes:
    content = io.BytesIO()
    frame.write_parquet(content)
    return content.getvalue()
