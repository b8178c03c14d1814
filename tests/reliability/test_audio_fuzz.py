"""Sound files that were damaged at random: each builds or is set aside with its reason, in bounded memory and time."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

RATE, BATCH = 8000, 100
FORMATS = (
    ("wav", "WAV", "PCM_16"), ("wav", "WAV", "FLOAT"), ("wav", "WAV", "IMA_ADPCM"), ("wav", "WAVEX", "PCM_24"),
    ("flac", "FLAC", "PCM_16"), ("ogg", "OGG", "VORBIS"), ("opus", "OGG", "OPUS"), ("mp3", "MP3", "MPEG_LAYER_III"),
    ("aiff", "AIFF", "PCM_16"), ("w64", "W64", "PCM_16"), ("caf", "CAF", "ALAC_16"), ("au", "AU", "ULAW"),
)  # fmt: skip

# What a user does, in a process that may take 3 GiB of memory and 200 s of a processor. Prints the reasons.
BUILD = """
import json, resource, sys
from pathlib import Path
if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
    resource.setrlimit(resource.RLIMIT_CPU, (200, 200))
    from acoustic_kit.features import LogMel, Stats, Wave, build_features
    from acoustic_kit.workspace import init_workspace
    import numpy as np
    workspace, wave = init_workspace(Path(sys.argv[1]), Path(sys.argv[2])), Wave(4000)
    features = [Stats(wave, n_fft=512), LogMel(wave, n_fft=512, n_mels=32)]
    store = workspace.store()
    reports = build_features(workspace.manifest, workspace.data_root, store, features)
    for report in reports:
        stored = store[report.feature.key]
        for id in stored.ids:
            values = stored.read(id)
            assert values.size and np.isfinite(values).all(), (report.feature.key, id)
    print(json.dumps({report.feature.key: report.failures for report in reports}))
"""


def originals() -> list[tuple[str, bytes]]:
    """The ending and the bytes of a short sound in each format, as soundfile writes it."""
    rng, files = np.random.default_rng(0), []
    time = np.arange(RATE // 4) / RATE
    for number, (suffix, form, subtype) in enumerate(FORMATS):
        sound = 0.3 * np.sin(2 * np.pi * (300 + 50 * number) * time) + 0.1 * rng.standard_normal(len(time))
        file = io.BytesIO()
        soundfile.write(file, sound, RATE, format=form, subtype=subtype)
        files.append((suffix, file.getvalue()))
    return files


def mutated(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """`content` with one to three things wrong with it."""
    for _ in range(int(rng.integers(1, 4))):
        data = bytearray(content)
        at, kind = int(rng.integers(max(1, len(data)))), int(rng.integers(8))
        head = int(rng.integers(min(len(data), 128) or 1))  # most of what decides is at the beginning
        wrong = int(rng.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, int(rng.integers(2**32))]))
        number = wrong.to_bytes(4, "little" if rng.integers(2) else "big")
        if kind == 0:  # bits flip anywhere
            for position in rng.integers(len(data) or 1, size=int(rng.integers(1, 20))):
                data[position : position + 1] = bytes([data[position] ^ (1 << int(rng.integers(8)))]) if data else b""
        elif kind == 1:
            del data[at:]
        elif kind == 2:  # a length or a count of the header
            data[head : head + 4] = number
        elif kind == 3:
            data[head : head + 2] = number[:2]
        elif kind == 4:  # a part of another format
            data[at:] = other[int(rng.integers(len(other))) :]
        elif kind == 5:  # a chunk that claims to be as long as it likes
            data[12:12] = bytes(rng.choice([b"LIST", b"fact", b"data", b"fmt ", b"COMM", b"bext"])) + number
        elif kind == 6:  # a part twice
            data[at:at] = data[head : head + int(rng.integers(1, 500))]
        else:
            data[at : at + int(rng.integers(1, 200))] = rng.bytes(int(rng.integers(1, 200)))
        content = bytes(data)
    return content


def damaged_data_set(folder: Path, first: int, n: int) -> None:
    """The damaged files numbered from `first` on, and twelve whole ones."""
    files = originals()
    for label in "xy":
        (folder / label).mkdir(parents=True)
    for number, (suffix, content) in enumerate(files):
        (folder / "xy"[number % 2] / f"whole-{number}.{suffix}").write_bytes(content)
    for number in range(first, first + n):
        rng = np.random.default_rng([1, number])
        suffix, content = files[number % len(files)]
        other = files[int(rng.integers(len(files)))][1]
        (folder / "xy"[number % 2] / f"{number:05d}.{suffix}").write_bytes(mutated(content, other, rng))


def build(folder: Path, first: int, n: int) -> dict[str, str]:
    """What could not be computed of a damaged data set, and why."""
    damaged_data_set(folder / "data", first, n)
    command = [sys.executable, "-c", BUILD, str(folder / "work"), str(folder / "data")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False, errors="replace")
    assert done.returncode == 0, f"mutations {first} to {first + n}: {done.returncode}\n{done.stderr[-2000:]}"
    failures: dict[str, dict[str, str]] = json.loads(done.stdout.splitlines()[-1])
    assert len({tuple(sorted(of_feature)) for of_feature in failures.values()}) == 1
    return next(iter(failures.values()))


def check(failures: dict[str, str], n: int) -> None:
    assert all(reason and "\n" not in reason for reason in failures.values())
    assert not any("whole" in id for id in failures)
    assert 0.05 * n < len(failures) < 0.95 * n  # the mutator neither ruins everything nor nothing


def test_damaged_sound_builds_or_is_set_aside(tmp_path: Path) -> None:
    check(build(tmp_path, 0, 60), 60)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(60, 2060, BATCH))
def test_two_thousand_damaged_sounds_build_or_are_set_aside(tmp_path: Path, first: int) -> None:
    check(build(tmp_path, first, BATCH), BATCH)
