"""stdout and stderr with any encoding, closed, or on a full disk."""

import json
import os
import subprocess
import sys

import pytest

TEXT = "é – ± ≠ … 犬 \udcff"
AKIT = [sys.executable, "-m", "acoustic_kit.cli"]


def python(program: str, encoding: str) -> subprocess.CompletedProcess[bytes]:
    modules = ("api.progress", "cli.console", "cli.streams")
    prepared = "".join(f"from acoustic_kit.{module} import *; " for module in modules) + f"prepare_streams(); {program}"
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    return subprocess.run([sys.executable, "-c", prepared], env=environment, capture_output=True, check=True)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8", "ascii:strict"])
def test_any_encoding_takes_any_text(encoding: str) -> None:
    text = ascii(TEXT)
    done = python(f"say({text}); print_line({text}); print_table([{text}], [[{text}]]); print_json({text})", encoding)
    out = done.stdout.decode(encoding.partition(":")[0])
    assert json.loads(out.splitlines()[-1]) == TEXT
    assert "\\udcff" in out.splitlines()[0]
    if encoding.startswith("ascii"):
        assert "\\xe9 - +/- != ... \\u72ac" in out


def test_help_on_a_full_disk() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run([*AKIT, "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "No space left" in done.stderr


def test_closed_streams() -> None:
    command = f"exec {sys.executable} -m acoustic_kit.cli --version >&- 2>&- <&-"
    assert subprocess.run(["sh", "-c", command], check=False).returncode == 0
