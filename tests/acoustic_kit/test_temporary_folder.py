"""Temporary folders of killed processes are deleted by the next one, those in use are not."""

import os
import tempfile
from pathlib import Path

import pytest

from acoustic_kit.files import temporary_folder


def test_abandoned_folders_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("akit-x-old", "akit-x-new", "akit-y-old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "features").write_text("of a killed process")
    (tmp_path / "akit-x-link").symlink_to(tmp_path / "akit-y-old")
    os.utime(tmp_path / "akit-x-old", (0, 0))
    os.utime(tmp_path / "akit-y-old", (0, 0))
    others = {"akit-x-new", "akit-y-old", "akit-x-link"}
    with temporary_folder("akit-x-") as first:
        os.utime(first, (0, 0))
        with temporary_folder("akit-x-") as second:
            assert {path.name for path in tmp_path.iterdir()} == {first.name, second.name, *others}
    assert {path.name for path in tmp_path.iterdir()} == others
    assert (tmp_path / "akit-y-old" / "features").exists()


def test_errors_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(OSError, match="full"), temporary_folder("akit-x-"):
        raise OSError("the disk is full")
    assert list(tmp_path.iterdir()) == []
