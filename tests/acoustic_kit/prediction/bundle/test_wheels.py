"""Wheels: akit's own, and those that are given or downloaded."""

import csv
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.prediction.bundle.image import Image
from acoustic_kit.prediction.bundle.wheels import collect_wheels, write_own_wheel

TinyWheel = Callable[..., Path]


def test_akits_own_wheel_installs_and_makes_itself_again(tmp_path: Path) -> None:
    wheel = write_own_wheel(tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (record,) = [name for name in names if name.endswith("/RECORD")]
        assert {row[0] for row in csv.reader(archive.read(record).decode().splitlines())} == set(names)
        target, again = tmp_path / "target", tmp_path / "again"
        archive.extractall(target)  # as pip installs it
    assert {"acoustic_kit/_recipes/logmel_cnn.py", "acoustic_store/__init__.py"} <= set(names)
    again.mkdir()
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import pathlib; import acoustic_kit.prediction.bundle.wheels as w"
    )
    command = [sys.executable, "-c", f"{code}; print(w.__file__, w.write_own_wheel(pathlib.Path(sys.argv[2])))"]
    done = subprocess.run([*command, target, again], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout.startswith(str(target))
    assert (again / wheel.name).read_bytes() == wheel.read_bytes()


def test_given_wheels_must_fit_name_version_and_python(tmp_path: Path, tiny_wheel: TinyWheel) -> None:
    given, out = tmp_path / "given", tmp_path / "out"
    given.mkdir()
    out.mkdir()
    tiny_wheel(given, "first-one", "1.0")
    (given / "notes.whl").touch()
    for tags in ("cp311-cp311-manylinux2014_x86_64", "cp312-cp312-macosx_11_0_arm64"):
        tiny_wheel(given, "second", "2.0", tags)
    with pytest.raises(UsageError, match=r"no wheel of second 2\.0 for Python 3\.12(.|\n)*second==2\.0"):
        collect_wheels({"first-one": "1.0", "second": "2.0"}, Image.listed(), out, given)
    fitting = tiny_wheel(given, "second", "2.0", "cp312-abi3-manylinux_2_28_x86_64")
    collect_wheels({"first-one": "1.0", "second": "2.0"}, Image.listed(), out, given)
    assert {path.name for path in out.iterdir()} == {"first_one-1.0-py3-none-any.whl", fitting.name}


def test_wheels_are_downloaded_once(tmp_path: Path, tiny_wheel: TinyWheel, monkeypatch: pytest.MonkeyPatch) -> None:
    index, out = tmp_path / "index", tmp_path / "out"
    index.mkdir()
    out.mkdir()
    wheel = tiny_wheel(index, "first-one", "1.0")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    seen: list[tuple[str, int, int]] = []
    collect_wheels({"first-one": "1.0"}, Image.listed(), out, on_progress=lambda *args: seen.append(args))
    assert seen == [("wheels", 0, 1), ("wheels", 1, 1)]
    wheel.unlink()
    collect_wheels({"first-one": "1.0"}, Image.listed(), out)
    assert [path.name for path in out.iterdir()] == [wheel.name]
    with pytest.raises(AkitError, match=r"second 2\.0 cannot be downloaded: .*second==2\.0(.|\n)*--wheels"):
        collect_wheels({"second": "2.0"}, Image.listed(), out)


def test_offline_nothing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.is_offline_mode", lambda: True)
    with pytest.raises(AkitError, match=r"second 2\.0 cannot be downloaded: the network is switched off"):
        collect_wheels({"second": "2.0"}, Image.listed(), tmp_path)
