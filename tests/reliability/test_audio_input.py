"""Sound files of every kind that users have: each builds or is set aside with its reason, and no feature has a NaN."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile
from typer.testing import CliRunner

from acoustic_kit.cli.app import app
from acoustic_kit.features import Stats, Wave, build_features
from acoustic_kit.workspace.config import CONFIG_NAME
from acoustic_kit.workspace.init import init_workspace
from acoustic_kit.workspace.workspace import Workspace

AKIT = [sys.executable, "-c", "from acoustic_kit.cli import main; main()"]
RATE = 8000
FAMILIES = ("wave", "logmel", "stats", "pcen", "ast_input")
ODD_NAMES = (
    "with space",
    "ünïcödé 日本",
    "new\nline",
    "-dash",
    "--help",
    "tab\t",
    "quote'\"",
    "[red]mark",
    "\x1b[31mred",
)


def encoded(samples: np.ndarray, rate: int = RATE, form: str = "WAV", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, subtype=subtype)
    return file.getvalue()


def noise(n: int = 4000, channels: int = 1) -> np.ndarray:
    return np.clip(0.1 * np.random.default_rng(n).standard_normal((n, channels)), -1, 1)


def with_sample(value: float) -> bytes:
    samples = noise()
    samples[100] = value
    return encoded(samples, subtype="FLOAT")


def good_files() -> dict[str, bytes]:
    """What can be built."""
    whole, mp3 = encoded(noise()), bytearray(encoded(noise(16000), form="MP3"))
    mp3[800:1200] = b"\x55" * 400
    impulse = np.zeros(4000)
    impulse[2000] = 1
    return {
        "cut off.wav": whole[: len(whole) // 2 + 1],
        "flac inside.wav": encoded(noise(), form="FLAC"),
        "wav inside.mp3": whole,
        "8 bit.wav": encoded(noise(), subtype="PCM_U8"),
        "24 bit.wav": encoded(noise(), subtype="PCM_24"),
        "float.wav": encoded(noise(), subtype="FLOAT"),
        "double.wav": encoded(noise(), subtype="DOUBLE"),
        "six channels.wav": encoded(noise(channels=6)),
        "1 kHz.wav": encoded(noise(1000), 1000),
        "192 kHz.wav": encoded(noise(48000), 192000),
        "0.01 s.wav": encoded(noise(80)),
        "one sample.wav": encoded(noise(1)),
        "zeros.wav": encoded(np.zeros(4000)),
        "nearly zero.wav": encoded(1e-42 * noise(), subtype="FLOAT"),
        "dc.wav": encoded(np.full(4000, 0.5)),
        "full scale.wav": encoded(np.sign(noise())),
        "impulse.wav": encoded(impulse),
        "bad frames.mp3": bytes(mp3),
        **{f"{name}.wav": whole for name in ODD_NAMES},
    }


def bad_files() -> dict[str, tuple[bytes, str]]:
    """What cannot be built, and a part of the reason."""
    whole = encoded(noise())
    return {
        "empty.wav": (b"", "is empty"),
        "header only.wav": (whole[:44], "no samples"),
        "half a header.wav": (whole[:20], "Malformed"),
        "text.wav": (b"this is text\n" * 50, "Format not recognised"),
        "no frames.mp3": (b"\xff\xfb" * 1000, "Format not recognised"),
        "nan.wav": (with_sample(np.nan), "NaN"),
        "infinite.wav": (with_sample(np.inf), "infinite"),
        "far too loud.wav": (with_sample(3e38), "full scale"),
        "500 Hz.wav": (encoded(noise(1000), 500), "500 Hz"),
    }


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of all of them, made and built on the command line; what was said is in `build.txt`."""
    root = tmp_path_factory.mktemp("zoo")
    for number, (name, content) in enumerate([*good_files().items(), *((n, c) for n, (c, _) in bad_files().items())]):
        folder = root / "data" / "xy"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (root / "data" / "x" / "loop.wav").symlink_to("loop.wav")
    (root / "data" / "x" / "there.wav").symlink_to("back.wav")
    (root / "data" / "x" / "back.wav").symlink_to("there.wav")
    (root / "data" / "x" / "up").symlink_to("..")
    os.mkfifo(root / "data" / "y" / "pipe.wav")
    for command in (["init", "work", "--data", "data"], ["-C", "work", "features", "build", *FAMILIES]):
        done = subprocess.run([*AKIT, *command], cwd=root, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
    (root / "work" / "build.txt").write_text(done.stdout + done.stderr)
    return root / "work"


@pytest.mark.parametrize("family", FAMILIES)
def test_each_file_builds_or_is_set_aside_with_its_reason(zoo: Path, family: str) -> None:
    store = Workspace.find(zoo).store()
    found = [store[key] for key in store.keys() if store[key].attributes["name"] == family]  # noqa: SIM118
    assert found
    for stored in found:
        assert {id.partition("/")[2] for id in stored.ids} == set(good_files())
        reasons = {id.partition("/")[2]: failure.reason for id, failure in stored.failures.items()}
        expected = {name: reason for name, (_, reason) in bad_files().items()}
        expected |= dict.fromkeys(("loop.wav", "there.wav", "back.wav"), "does not exist")
        assert set(reasons) == set(expected)
        assert all(reason in reasons[name] for name, reason in expected.items())
        for id in stored.ids:
            values = stored.read(id)
            assert values.size
            assert np.isfinite(values).all(), id


def test_names_neither_break_a_table_nor_steer_the_terminal(zoo: Path) -> None:
    info, odd, document = (
        CliRunner().invoke(app, ["-C", str(zoo), *words])
        for words in (["features", "info", "wave"], ["data", "inspect"], ["data", "inspect", "--json"])
    )
    for text in (info.stdout, odd.stdout, odd.stderr, (zoo / "build.txt").read_text()):
        assert "\x1b[31m" not in text
        assert not any(line.startswith("line.wav") for line in text.splitlines())
    ids = {odd["id"].partition("/")[2] for odd in json.loads(document.stdout)["odd_clips"]}
    assert "new\nline.wav" in ids  # a document has them as they are


UNREADABLE = """
import os, sys
from pathlib import Path
import acoustic_store
import soundfile
from acoustic_kit.data.scan import scan_audio
from acoustic_kit.errors import AkitError
from acoustic_kit.dsp.decoding import decode
scan_audio([Path(sys.executable)])  # loads all that it needs, which an unprivileged process may not be allowed to
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
print(scan_audio([Path(sys.argv[1])])["problem"][0])
try:
    decode(sys.argv[1])
except AkitError as error:
    print(error)
"""


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):  # pytest makes them for its user alone
        if not folder.stat().st_mode & 0o077:
            folder.chmod(0o755)
    path = tmp_path / "locked.wav"
    path.write_bytes(encoded(noise()))
    path.chmod(0)
    done = subprocess.run([sys.executable, "-c", UNREADABLE, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["Permission denied", "it cannot be read: Permission denied"]


def test_clips_skipped_without_disk_are_built_when_it_is_back(synthetic: Path, tmp_path: Path) -> None:
    data = shutil.copytree(synthetic, tmp_path / "data")
    workspace, stats = init_workspace(tmp_path / "work", data), Stats(Wave(RATE))

    def build() -> list[tuple[int, int]]:
        reports = build_features(workspace.manifest, data, workspace.store(), [stats])
        return [(report.built, len(report.failures)) for report in reports]

    (data / "audio").rename(tmp_path / "away")
    (data / "audio").mkdir()  # an empty mount point
    assert build() == [(60, 60), (60, 60)]
    assert build() == [(0, 60), (0, 60)]
    (data / "audio").rmdir()
    (tmp_path / "away").rename(data / "audio")
    assert build() == [(60, 0), (60, 0)]
    assert build() == [(0, 0), (0, 0)]


def test_a_missing_data_folder_sets_nothing_aside(workspace: Workspace) -> None:
    config = workspace.root / CONFIG_NAME
    config.write_text(config.read_text("utf-8").replace(f'data = "{workspace.data_root}"', 'data = "nowhere"'), "utf-8")
    command = ["-C", str(workspace.root), "features", "build", "--workers", "0"]
    assert CliRunner().invoke(app, command).exit_code == 0  # nothing to do
    result = CliRunner().invoke(app, [*command, "wave:sample_rate=6000"])
    assert result.exit_code == 1
    assert "nowhere is missing" in result.stderr
    key = Wave(6000).key
    assert key not in workspace.store() or not workspace.store()[key].failures


HOUR = """
import re, sys
from pathlib import Path
from acoustic_kit.features import AstInput, LogMel, Pcen, Stats, build_features
from acoustic_kit.workspace import init_workspace
def peak():  # in GiB; what getrusage says begins with that of the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 2**20
workspace = init_workspace(Path(sys.argv[1]), Path(sys.argv[2]))
print(peak())
build_features(workspace.manifest, workspace.data_root, workspace.store(), [LogMel(), Stats(), Pcen(), AstInput()])
print(peak())
"""


@pytest.mark.slow
def test_hour_long_audio_is_inspected_and_built_in_little_memory(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(10):
        path = tmp_path / "data" / "xy"[number % 2] / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise(), RATE)
    with soundfile.SoundFile(tmp_path / "data" / "x" / "hour.wav", "w", RATE, 1, "PCM_U8") as file:
        for _ in range(60):
            file.write(0.1 * rng.standard_normal(60 * RATE))
    done = subprocess.run(
        [sys.executable, "-c", HOUR, str(tmp_path / "work"), str(tmp_path / "data")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    scanned, built = map(float, done.stdout.split())
    assert scanned < 0.6  # GiB; what Python and its libraries take, and a block of samples
    assert built < 2
    workspace = Workspace.find(tmp_path / "work")
    assert workspace.manifest.filter(pl.col("id") == "x/hour.wav")["duration"].item() == 3600
    assert "x/hour.wav" in workspace.store()[Stats().key]
