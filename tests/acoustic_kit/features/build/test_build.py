"""Building features: everything once, resumable after a kill, bad clips recorded, the same in worker processes."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile

from acoustic_kit.data import file_digest
from acoustic_kit.dsp import decoding
from acoustic_kit.errors import AkitError
from acoustic_kit.features import (
    BuildReport,
    LogMel,
    Stats,
    Wave,
    build_features,
    feature_from_parameters,
    with_sources,
)
from acoustic_kit.features.build.build import OnError
from acoustic_store import Failure, FeatureStore

RATE = 8000


def make_clips(folder: Path, n: int = 5, seconds: float = 0.3) -> pl.DataFrame:
    """The part of a manifest that a build reads, with its files: noise of growing length."""
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    rows = []
    for i in range(n):
        path = folder / f"{i}.wav"
        soundfile.write(path, rng.normal(0, 0.1, int(RATE * seconds) + 100 * i), RATE)
        rows.append(row_of(path, f"clip {i}"))
    return pl.DataFrame(rows)


def row_of(path: Path, id: str) -> dict[str, object]:
    stat = path.stat()
    return {
        "id": id, "path": path.name, "content": file_digest(path), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns,
    }  # fmt: skip


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore.open(tmp_path / "features.zarr", create=True)


def test_sources_come_first_and_once() -> None:
    wave = Wave(sample_rate=16000)
    order = with_sources([LogMel(wave=wave), Stats(wave=wave), wave, Stats()])
    assert order == [wave, LogMel(wave=wave), Stats(wave=wave), Wave(), Stats()]


def test_keys_tell_parameters_apart_and_sources_too() -> None:
    features = [Stats(), Stats(hop_length=256), Stats(wave=Wave(sample_rate=8000)), Stats(wave=Wave(trim_top_db=None))]
    assert len({feature.key for feature in features}) == 4
    assert Stats().key == Stats().key


@pytest.mark.parametrize("feature", [Wave(sample_rate=4000), LogMel(n_mels=40, fmax=3000.0), Stats(Wave(16000, None))])
def test_a_feature_comes_back_from_its_parameters(feature: Wave | LogMel | Stats) -> None:
    assert feature_from_parameters(feature.parameters()) == feature
    with pytest.raises(AkitError, match="another version"):
        feature_from_parameters(feature.parameters() | {"version": 0})


def test_what_is_stored_is_what_the_pure_functions_give(tmp_path: Path, store: FeatureStore) -> None:
    manifest = make_clips(tmp_path / "data")
    stats = Stats(wave=Wave(sample_rate=RATE, encoding="float32"))
    build_features(manifest, tmp_path / "data", store, [stats])
    for id, path in manifest.select("id", "path").rows():
        wave = stats.wave.compute(tmp_path / "data" / path)
        np.testing.assert_array_equal(store[stats.wave.key].read(id), wave)
        np.testing.assert_array_equal(store[stats.key].read(id), stats.compute(wave))


def test_each_file_is_decoded_once_whatever_is_made_of_it(
    tmp_path: Path, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = make_clips(tmp_path / "data")
    decoded: list[str] = []
    decode_as = decoding.decode_as
    monkeypatch.setattr(
        decoding, "decode_as", lambda path, forms: (decoded.append(Path(path).name), decode_as(path, forms))[1]
    )
    waves = [Wave(8000), Wave(4000), Wave(8000, trim_top_db=None)]
    reports = build_features(manifest, tmp_path / "data", store, [*waves, Stats(Wave(4000))])
    assert sorted(decoded) == ["0.wav", "1.wav", "2.wav", "3.wav", "4.wav"]
    assert [report.built for report in reports] == [5, 5, 5, 5]
    for wave in waves:
        alone = FeatureStore.open(tmp_path / f"{wave.key}.zarr", create=True)
        build_features(manifest, tmp_path / "data", alone, [wave])
        assert files(alone.path / wave.key) == files(store.path / wave.key)


def test_report_has_read_compute_and_write_times(tmp_path: Path, store: FeatureStore) -> None:
    manifest = make_clips(tmp_path / "data")
    for report in build_features(manifest, tmp_path / "data", store, [Stats()]):
        stages = report.stages
        assert min(stages.read, stages.compute, stages.write) > 0
        assert stages.read + stages.compute + stages.write < report.seconds  # in this process nothing overlaps


def test_a_second_build_does_nothing(tmp_path: Path, store: FeatureStore) -> None:
    manifest = make_clips(tmp_path / "data")
    build_features(manifest, tmp_path / "data", store, [Stats()])
    before = files(store.path)
    reports = build_features(manifest, tmp_path / "data", store, [Stats()])
    assert [(report.built, report.held) for report in reports] == [(0, 5), (0, 5)]
    assert files(store.path) == before


def test_only_new_and_changed_files_are_built(tmp_path: Path, store: FeatureStore) -> None:
    data = tmp_path / "data"
    manifest = make_clips(data)
    build_features(manifest, data, store, [Stats()])
    soundfile.write(data / "1.wav", np.zeros(2000) + 0.1, RATE)  # the manifest does not know of the change
    soundfile.write(data / "new.wav", np.zeros(3000) + 0.2, RATE)
    grown = pl.concat([manifest, pl.DataFrame([row_of(data / "new.wav", "new")])])
    reports = build_features(grown, data, store, [Stats()])
    assert [(report.built, report.held) for report in reports] == [(2, 4), (2, 4)]
    np.testing.assert_allclose(store[Wave().key].read("clip 1").max(), 0.1, rtol=0.5)


def test_a_new_time_stamp_alone_builds_nothing(tmp_path: Path, store: FeatureStore) -> None:
    manifest = make_clips(tmp_path / "data")
    build_features(manifest, tmp_path / "data", store, [Wave()])
    os.utime(tmp_path / "data" / "2.wav", (1, 1))
    assert build_features(manifest, tmp_path / "data", store, [Wave()])[0].built == 0


def test_what_was_built_outlives_its_files(tmp_path: Path, store: FeatureStore) -> None:
    manifest = make_clips(tmp_path / "data")
    build_features(manifest, tmp_path / "data", store, [Stats()])
    for path in (tmp_path / "data").iterdir():
        path.unlink()
    reports = build_features(manifest, tmp_path / "data", store, [Stats()])
    assert [(report.built, len(report.failures)) for report in reports] == [(0, 0), (0, 0)]


def test_bad_files_are_recorded_and_not_tried_again(tmp_path: Path, store: FeatureStore) -> None:
    data = tmp_path / "data"
    make_clips(data, n=2)
    (data / "text.wav").write_text("no sound")
    (data / "empty.wav").touch()
    soundfile.write(data / "nan.wav", np.array([0.0, np.nan]), RATE, subtype="FLOAT")
    manifest = pl.DataFrame([row_of(path, path.stem) for path in sorted(data.iterdir())])
    (data / "1.wav").unlink()
    first, second = (build_features(manifest, data, store, [Stats()]) for _ in range(2))
    for wave, stats in (first, second):
        assert set(wave.failures) == set(stats.failures) == {"text", "empty", "nan", "1"}
        assert all(wave.failures.values())
        assert not any("\n" in reason or str(data) in reason for reason in wave.failures.values())
    assert [report.built for report in second] == [0, 0]
    assert "0" in store[Stats().key]
    assert "nan" not in store[Stats().key]


def test_on_error_fail_stops_and_names_the_clip(tmp_path: Path, store: FeatureStore) -> None:
    data = tmp_path / "data"
    make_clips(data, n=2)
    (data / "text.wav").write_text("no sound")
    manifest = pl.DataFrame([row_of(path, f"id of {path.stem}") for path in sorted(data.iterdir())])
    with pytest.raises(AkitError, match="id of text: "):
        build_features(manifest, data, store, [Wave()], on_error="fail")
    (data / "text.wav").unlink()


@pytest.mark.parametrize("on_error", ["skip", "silence"])
@pytest.mark.parametrize("problem", [OSError(errno.EIO, "Input/output error"), MemoryError()])
def test_the_next_build_retries_clips_that_could_not_be_read(
    tmp_path: Path, store: FeatureStore, monkeypatch: pytest.MonkeyPatch, problem: Exception, on_error: OnError
) -> None:
    manifest, wave = make_clips(tmp_path / "data"), Wave(8000)

    def fail(*_: object) -> None:
        raise problem

    def build() -> list[tuple[int, int, int]]:
        reports = build_features(manifest, tmp_path / "data", store, [Stats(wave)], on_error=on_error)
        return [(report.built, len(report.failures), len(report.silenced)) for report in reports]

    with monkeypatch.context() as patched:
        patched.setattr(decoding, "_resampler", fail)
        assert build() == [(5, 5, 0), (5, 5, 0)]
    assert build() == [(5, 0, 0), (5, 0, 0)]
    assert build() == [(0, 0, 0), (0, 0, 0)]


def test_undecodable_clips_count_as_silence_on_request(tmp_path: Path, store: FeatureStore) -> None:
    data = tmp_path / "data"
    make_clips(data, n=2)
    (data / "text.wav").write_text("no sound")
    manifest = pl.DataFrame([row_of(path, path.stem) for path in sorted(data.iterdir())])

    def build(on_error: OnError) -> list[BuildReport]:
        return build_features(manifest, data, store, [Stats(Wave(RATE))], on_error=on_error)

    assert [set(report.failures) for report in build("skip")] == [{"text"}, {"text"}]
    for report in build("silence"):
        assert (report.built, report.failures, report.silenced) == (1, {}, ["text"])
    wave = store[Wave(RATE).key].read("text")
    assert (len(wave), wave.any()) == (RATE, False)
    assert np.isfinite(store[Stats(Wave(RATE)).key].read("text")).all()

    assert [(report.built, report.silenced) for report in build("skip")] == [(0, ["text"])] * 2  # it stays so
    soundfile.write(data / "text.wav", np.full(3000, 0.5), RATE)
    assert [(report.built, report.silenced) for report in build("silence")] == [(1, []), (1, [])]  # mended
    assert store[Wave(RATE).key].read("text").max() > 0.4


def test_a_build_that_must_fail_does_not_accept_silence(tmp_path: Path, store: FeatureStore) -> None:
    data = tmp_path / "data"
    make_clips(data, n=1)
    (data / "text.wav").write_text("no sound")
    manifest = pl.DataFrame([row_of(path, path.stem) for path in sorted(data.iterdir())])
    build_features(manifest, data, store, [Wave()], on_error="silence")
    with pytest.raises(AkitError, match="text: it cannot be decoded"):
        build_features(manifest, data, store, [Wave()], on_error="fail")


def test_states_in_the_fingerprints_of_earlier_stores_count(tmp_path: Path, store: FeatureStore) -> None:
    manifest, wave = make_clips(tmp_path / "data", n=3), Wave(RATE)
    ids, digests = manifest["id"].to_list(), manifest["content"].to_list()
    suffixes = ["+silence", "+left out", ""]
    with store.writer(wave.key, wave.storage_dtype, wave.parameters()) as writer:
        clips = [(id, digest + suffix) for id, digest, suffix in zip(ids, digests, suffixes, strict=True)]
        for block in writer.plan(clips):
            block.write([np.zeros(RATE), Failure("its worker was killed"), np.ones(5)])
    (report,) = build_features(manifest, tmp_path / "data", store, [wave])
    assert (report.built, report.silenced, report.failures) == (1, ids[:1], {})  # the clip left out is built
    assert {id: store[wave.key].state(id) for id in ids} == dict(zip(ids, ["silence", "", ""], strict=True))
    assert build_features(manifest, tmp_path / "data", store, [wave])[0].built == 0


def test_worker_processes_build_the_same_bytes(tmp_path: Path, store: FeatureStore) -> None:
    manifest = make_clips(tmp_path / "data", n=130, seconds=0.05)
    build_features(manifest, tmp_path / "data", store, [Stats()])
    parallel = FeatureStore.open(tmp_path / "parallel.zarr", create=True)
    seen: list[tuple[str, int, int]] = []
    build_features(
        manifest, tmp_path / "data", parallel, [Stats()],
        workers=2, on_progress=lambda feature, done, total: seen.append((feature.name, done, total)),
    )  # fmt: skip
    assert files(parallel.path) == files(store.path)
    assert [entry for entry in seen if entry[0] == "stats"][-1] == ("stats", 130, 130)


def test_damaged_clips_are_built_again_on_request(tmp_path: Path, store: FeatureStore) -> None:
    manifest = make_clips(tmp_path / "data")
    build_features(manifest, tmp_path / "data", store, [Stats()])
    good = store[Stats().key].read("clip 3").copy()
    chunk = next((store.path / Stats().key).rglob("c.0"))
    content = bytearray(chunk.read_bytes())
    content[3 * good.nbytes + 8] ^= 1
    chunk.write_bytes(content)
    damaged = store[Stats().key].verify()
    assert damaged == ["clip 3"]
    build_features(manifest, tmp_path / "data", store, [Stats()], rebuild={Stats().key: damaged})
    assert store[Stats().key].verify() == []
    np.testing.assert_array_equal(store[Stats().key].read("clip 3"), good)


BUILD = """
import sys; from pathlib import Path; import polars as pl
from acoustic_kit.features import Stats, Wave, build_features
from acoustic_store import FeatureStore
if __name__ == "__main__":
    data, store, workers = Path(sys.argv[1]), FeatureStore.open(sys.argv[2], create=True), int(sys.argv[3])
    build_features(pl.read_parquet(data / "manifest.parquet"), data, store, [Stats()], workers=workers,
                   on_progress=lambda f, done, total: print(f.name, done, flush=True))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "divided"), [(0, False), (2, False), (2, True)])
def test_a_killed_build_ends_as_an_uninterrupted_one(
    tmp_path: Path, workers: int, divided: bool, make_recordings: Callable[..., pl.DataFrame]
) -> None:
    data, script = tmp_path / "data", tmp_path / "build.py"
    seconds = {"a.wav": 12, "b.flac": 9, "c.wav": 3, "d.ogg": 2, "e.wav": 1, "f.wav": 6, "g.wav": 8}
    manifest = make_recordings(data, seconds) if divided else make_clips(data, n=400, seconds=0.2)
    manifest.write_parquet(data / "manifest.parquet")
    script.write_text(BUILD)

    def build(store: Path) -> subprocess.Popen:
        command = [sys.executable, str(script), str(data), str(store), str(workers)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    whole = build(tmp_path / "whole.zarr")
    assert whole.communicate()[0]
    assert whole.returncode == 0
    rng, killed = random.Random(workers), 0
    for _ in range(3):
        process = build(tmp_path / "killed.zarr")
        assert process.stdout is not None
        process.stdout.readline()  # a block is committed: the next are on their way
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.stdout.read()
        killed += process.wait() == -signal.SIGKILL
    assert killed
    assert build(tmp_path / "killed.zarr").wait() == 0
    assert files(tmp_path / "killed.zarr") == files(tmp_path / "whole.zarr")
