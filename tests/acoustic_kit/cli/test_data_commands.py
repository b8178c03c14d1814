"""`akit data download` and `akit data extract`."""

import functools
import http.server
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from acoustic_kit.cli import app
from acoustic_kit.data.public_data import PUBLIC_DATA_SETS, Archive


def akit(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve the folder `served`; the current folder is another one."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    (tmp_path / "served").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    handler = functools.partial(Quiet, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def esc50(synthetic: Path, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace ESC-50 by 60 generated clips of a local server."""
    with zipfile.ZipFile(tmp_path / "served" / "esc50.zip", "w") as archive:
        for path in synthetic.rglob("*.*"):
            archive.write(path, Path("ESC-50-master") / path.relative_to(synthetic))
    archives = (Archive(f"{url}/esc50.zip", "esc50.zip", 1),)
    monkeypatch.setitem(PUBLIC_DATA_SETS, "esc50", replace(PUBLIC_DATA_SETS["esc50"], archives=archives))


@pytest.mark.usefixtures("esc50")
def test_from_a_download_to_a_workspace() -> None:
    listed = akit("data", "download").stdout
    assert [line.split()[0] for line in listed.splitlines()] == ["data", *PUBLIC_DATA_SETS]
    said = akit("data", "download", "esc50").stderr
    for part in ("CC BY-NC 3.0", "K. J. Piczak", "was not checked", "sha256 is", "downloading esc50.zip, MB"):
        assert part in said
    command = re.search(r"^Next: akit (.*)$", said, re.MULTILINE)
    assert command is not None
    assert command[1] == "init work --data ESC-50"
    assert "60 train" in akit(*command[1].split()).output


@pytest.mark.usefixtures("esc50")
def test_offline_and_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "")  # to be put back after what --offline does
    assert "the network is switched off (--offline)" in akit("--offline", "data", "download", "esc50", code=1).stderr
    assert "data set 'esc'" in akit("data", "download", "esc", code=2).stderr
    Path("there").mkdir()
    Path("there", "mine").touch()
    assert "there" in akit("data", "download", "esc50", "there", code=2).stderr
    assert sorted(path.name for path in Path().iterdir()) == ["there"]


def copy_slowly(_: object, source: IO[bytes], target: IO[bytes]) -> None:
    while part := source.read(1 << 16):
        target.write(part)
        time.sleep(0.02)


def test_an_interrupt_keeps_what_came(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Quiet, "copyfile", copy_slowly)
    with zipfile.ZipFile(tmp_path / "served" / "esc50.zip", "w") as archive:
        archive.writestr("meta/esc50.csv", "filename\n")
        archive.writestr("audio/1.wav", bytes(20_000_000))
    code = (
        "import acoustic_kit.data.public_data as p; from acoustic_kit.cli import main\n"
        "from dataclasses import replace; all = p.PUBLIC_DATA_SETS\n"
        f"archive = p.Archive({url!r} + '/esc50.zip', 'esc50.zip', 1)\n"
        "all['esc50'] = replace(all['esc50'], archives=(archive,)); main()"
    )
    command = [sys.executable, "-c", code, "data", "download", "esc50"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        part = Path("ESC-50.download", "esc50.zip.part")
        while not part.exists() or part.stat().st_size < 500_000:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "same command again" in errors
    assert "Traceback" not in errors
    assert 500_000 <= part.stat().st_size < 20_000_000
    assert sorted(path.name for path in part.parent.iterdir()) == ["esc50.zip.part", "esc50.zip.part.json"]


def test_extract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.wav").write_bytes(bytes(2_000_000))
    with tarfile.open("my clips.tar.gz", "w:gz") as archive:
        archive.add("a.wav", "clips/a.wav")
    said = akit("data", "extract", "my clips.tar.gz", "my clips").stderr
    assert "Unpacked 1 files into my clips" in said
    assert "Next: akit init work --data 'my clips'" in said
    assert (tmp_path / "my clips" / "a.wav").stat().st_size == 2_000_000
    assert "my clips" in akit("data", "extract", "my clips.tar.gz", "my clips", code=2).stderr


def test_start_up_loads_neither_pooch_nor_requests() -> None:
    code = (
        "import sys, acoustic_kit, acoustic_kit.data.download, acoustic_kit.data.public_data\n"
        "from acoustic_kit.cli import app; app(['data', 'download', '--help'], standalone_mode=False)\n"
        "print([name for name in ('pooch', 'requests', 'polars') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_init_reads_as_told_and_prints_what_it_guessed(synthetic: Path, tmp_path: Path) -> None:
    data, work = tmp_path / "data", tmp_path / "work"
    shutil.copytree(synthetic / "audio", data / "clips")
    rows = [line.split(",") for line in (synthetic / "meta" / "esc50.csv").read_text().splitlines()[1:]]
    lines = [f"{name},{label},{'train' if fold != '5' else 'test'},{fold}" for name, fold, _, label, *_ in rows]
    (data / "all.csv").write_text("\n".join(["file,animal,part,take", *lines]) + "\n")
    assert "--train-csv all.csv" in akit("init", work, "--data", data, code=1).stderr
    options = ["--label-column", "animal", "--group-pattern", r"(\d+)-[A-Z]", "--where", "part=train", "--n-folds", "2"]
    done = akit("init", work, "--data", data, "--train-csv", "all.csv", *options)
    for part in (
        "id from 'file'",
        "label from 'animal'",
        "--where keeps 48 of 60",
        "--group-pattern",
        "12 audio files",
    ):
        assert part in done.stderr
    manifest = pl.read_parquet(work / "manifest.parquet")
    assert set(manifest["part"]) == {"train"}
    assert manifest["group"].null_count() == 0
    assert akit("init", tmp_path / "other", "--data", data, "--where", "part", code=2).stderr
