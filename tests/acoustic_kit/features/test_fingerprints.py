"""Fingerprints of clips: of their file's bytes, and of the part of it that the clip is."""

from importlib import import_module
from pathlib import Path

import polars as pl
import pytest

from acoustic_kit.data import file_digest
from acoustic_kit.features import fingerprints


def windows(path: Path, content: str = "old", size: int = -1) -> pl.DataFrame:
    """The part of a manifest that fingerprints need: a whole file, and windows of it."""
    spans = [(None, None), (0.0, 5.0), (5.0, 10.0), (2.5, 7.5)]
    return pl.DataFrame(
        [
            {"id": f"{i}", "path": path.name, "start": start, "end": end, "content": content, "size": size}
            for i, (start, end) in enumerate(spans)
        ]
    ).with_columns(mtime_ns=path.stat().st_mtime_ns if path.exists() else 0)


def test_parts_of_a_file_have_its_digest_and_their_span(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"12345")
    found = fingerprints(windows(path, "known", size=5), tmp_path)
    assert found == {"0": "known", "1": "known@0.0-5.0", "2": "known@5.0-10.0", "3": "known@2.5-7.5"}
    assert fingerprints(windows(path, "known"), "s3://bucket/data") == found
    assert fingerprints(windows(tmp_path / "none.wav", "known"), tmp_path) == found


def test_a_changed_file_is_digested_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"12345")
    digested: list[Path] = []
    module = import_module("acoustic_kit.features.fingerprints")  # the package has a function of this name
    monkeypatch.setattr(module, "file_digest", lambda path: (digested.append(path), file_digest(path))[1])
    found = fingerprints(windows(path), tmp_path)
    assert found["2"] == f"{file_digest(path)}@5.0-10.0"
    assert digested == [path]
