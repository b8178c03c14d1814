"""Libraries have a place for what they compile, also where nothing but the temporary folder can be written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from acoustic_kit import caches


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR", "TRITON_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "environ", found := dict(os.environ))
    return found


def test_what_can_be_written_is_left_to_the_libraries(environment: dict[str, str], tmp_path: Path) -> None:
    environment["HOME"] = str(tmp_path / "new")
    caches.provide_caches()
    assert not {"NUMBA_CACHE_DIR", "MPLCONFIGDIR"} & set(environment)


def test_where_nothing_can_be_written_there_is_a_folder(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    environment["MPLCONFIGDIR"] = "mine"
    caches.provide_caches()
    folder = environment["NUMBA_CACHE_DIR"]
    assert environment["TRITON_CACHE_DIR"] == folder
    assert environment["MPLCONFIGDIR"] == "mine"
    assert Path(folder).stat().st_mode & 0o077 == 0  # code is executed from it
    caches._remove(folder, os.getpid() + 1)
    assert Path(folder).is_dir()
    caches._remove(folder, os.getpid())
    assert not Path(folder).exists()


def test_numba_compiles_there_and_nothing_stays(tmp_path: Path) -> None:
    program = (
        "import os; os.access = lambda *_: False\n"
        "import acoustic_kit, numba\nfrom pathlib import Path\n"
        "assert numba.config.CACHE_DIR == os.environ['NUMBA_CACHE_DIR'] and Path(numba.config.CACHE_DIR).is_dir()\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    subprocess.run([sys.executable, "-c", program], env={**environment, "TMPDIR": str(tmp_path)}, check=True)
    assert list(tmp_path.iterdir()) == []
