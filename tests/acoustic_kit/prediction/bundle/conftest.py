"""Wheels without content, in place of those that a bundle downloads."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from acoustic_kit.prediction.bundle.image import Image


@pytest.fixture(scope="session")
def tiny_wheel() -> Callable[..., Path]:
    """A function that writes a wheel with nothing but metadata."""

    def write(folder: Path, name: str, version: str, tags: str = "py3-none-any") -> Path:
        stem = f"{name.replace('-', '_')}-{version}"
        path = folder / f"{stem}-{tags}.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            archive.writestr(f"{stem}.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tags}\n")
            archive.writestr(f"{stem}.dist-info/RECORD", "")
        return path

    return write


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory, tiny_wheel: Callable[..., Path]) -> Path:
    """A folder with a tiny wheel of each package that the image lacks."""
    folder = tmp_path_factory.mktemp("wheels")
    for name, version in Image.listed().lacks(with_estimators=True).items():
        tiny_wheel(folder, name, version, "cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64")
    return folder
