"""Features of the windows of recordings: each recording is decoded once, and each window is as a file of its own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import polars as pl
import pytest
import soundfile

from acoustic_kit.dsp import recording as recording_module
from acoustic_kit.dsp.decoding import decode, resample
from acoustic_kit.dsp.sound_file import Span
from acoustic_kit.features import LogMel, Stats, Wave, build_features
from acoustic_kit.features.build import worker as worker_module
from acoustic_kit.features.build.job import BlockJob
from acoustic_kit.features.build.recordings import is_open
from acoustic_kit.features.build.worker import Workers, _Worker
from acoustic_store import FeatureStore

RATE = 8000
WAVE = Wave(4000, trim_top_db=None, encoding="float32")


Recordings = Callable[..., pl.DataFrame]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore.open(tmp_path / "features.zarr", create=True)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are opened in this process."""
    found: list[str] = []
    open_sound = recording_module.open_sound
    monkeypatch.setattr(
        recording_module, "open_sound", lambda place: (found.append(Path(place).name), open_sound(place))[1]
    )
    return found


def test_each_recording_is_opened_once(
    tmp_path: Path, store: FeatureStore, opened: list[str], make_recordings: Recordings
) -> None:
    manifest = make_recordings(tmp_path / "data", {"a.wav": 1, "b.flac": 15, "c.ogg": 6.05, "d.mp3": 1})
    reports = build_features(manifest, tmp_path / "data", store, [WAVE, Wave(RATE), Stats(WAVE)])
    assert [len(report.failures) for report in reports] == [0, 0, 0]
    assert opened == ["a.wav", "b.flac", "c.ogg", "d.mp3"]
    assert not is_open(tmp_path / "data" / "d.mp3")
    for id, path, start, end in manifest.select("id", "path", "start", "end").iter_rows():
        wave = decode(tmp_path / "data" / path).samples[round(start * RATE) : round(end * RATE)]
        np.testing.assert_array_equal(store[WAVE.key].read(id), resample(wave, RATE, 4000))


def test_windows_in_any_order_and_whole_files_among_them(
    tmp_path: Path, store: FeatureStore, opened: list[str], make_recordings: Recordings
) -> None:
    manifest = make_recordings(tmp_path / "data", {"a.wav": 8, "b.flac": 9})
    whole = manifest.filter(pl.col("start") == 0).with_columns(
        id=pl.col("path"), start=pl.lit(None, pl.Float64), end=pl.lit(None, pl.Float64)
    )
    shuffled = pl.concat([manifest.sample(fraction=1, shuffle=True, seed=1), whole])
    build_features(shuffled, tmp_path / "data", store, [WAVE])
    assert sorted(opened) == ["a.wav", "b.flac"]
    assert len(store[WAVE.key].read("b.flac")) == 9 * 4000
    ordered = FeatureStore.open(tmp_path / "ordered.zarr", create=True)
    build_features(manifest, tmp_path / "data", ordered, [WAVE])
    for id in manifest["id"]:
        np.testing.assert_array_equal(store[WAVE.key].read(id), ordered[WAVE.key].read(id))


def test_windows_that_fail_say_why(
    tmp_path: Path, store: FeatureStore, opened: list[str], make_recordings: Recordings
) -> None:
    data = tmp_path / "data"
    manifest = make_recordings(data, {"a.wav": 0.5, "bad.wav": 9, "none.wav": 9})
    (data / "bad.wav").write_text("no sound")
    (data / "none.wav").unlink()
    beyond = manifest.head(1).with_columns(id=pl.lit("beyond"), start=0.5, end=0.7)
    manifest = pl.concat([manifest, beyond])
    (report,) = build_features(manifest, data, store, [WAVE])
    reasons = report.failures
    assert {id.split()[0] for id in reasons} == {"bad.wav", "none.wav", "beyond"}
    assert len(reasons) == 90 + 90 + 1
    assert "0.5 s" in reasons["beyond"]
    assert len({reasons[f"bad.wav {i}"] for i in range(90)}) == 1
    assert opened == ["a.wav", "bad.wav"]
    (report,) = build_features(manifest, data, store, [WAVE])
    assert report.built == 0
    assert report.failures == reasons


def test_the_windows_of_a_changed_recording_are_built_again(
    tmp_path: Path, store: FeatureStore, make_recordings: Recordings
) -> None:
    data = tmp_path / "data"
    manifest = make_recordings(data, {"a.wav": 1, "b.wav": 1})
    build_features(manifest, data, store, [WAVE])
    soundfile.write(data / "b.wav", np.full(RATE, 0.5), RATE)
    (report,) = build_features(manifest, data, store, [WAVE])
    assert (report.built, report.held) == (10, 10)
    assert store[WAVE.key].read("b.wav 3")[100:-100] == pytest.approx(0.5, abs=0.01)
    hopped = manifest.with_columns(end=pl.col("start") + 0.15)
    (report,) = build_features(hopped, data, store, [WAVE])
    assert (report.built, report.held) == (20, 0)


def test_one_worker_has_all_blocks_of_a_recording(
    tmp_path: Path, store: FeatureStore, monkeypatch: pytest.MonkeyPatch, make_recordings: Recordings
) -> None:
    manifest = make_recordings(tmp_path / "data", {"a.wav": 15, "b.wav": 2, "c.wav": 3, "d.wav": 14, "e.wav": 1})
    given: dict[str, set[int]] = {}
    give = _Worker.give

    def log(worker: _Worker, chain: list[BlockJob]) -> object:
        for id, _ in chain[0].clips:
            given.setdefault(id.split()[0], set()).add(id_of(worker))
        return give(worker, chain)

    id_of = id  # `id` is a clip above
    monkeypatch.setattr(worker_module._Worker, "give", log)
    build_features(manifest, tmp_path / "data", store, [WAVE], workers=2)
    assert [len(found) for found in given.values()] == [1, 1, 1, 1, 1]
    assert len(set.union(*given.values())) == 2
    alone = FeatureStore.open(tmp_path / "alone.zarr", create=True)
    build_features(manifest, tmp_path / "data", alone, [WAVE])
    assert files(alone.path) == files(store.path)


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_a_stopped_build_ends_as_an_uninterrupted_one(
    tmp_path: Path, store: FeatureStore, kept: int, make_recordings: Recordings
) -> None:
    def stop(_: object, done: int, __: int) -> None:
        calls.append(done)
        if len(calls) == kept:
            raise KeyboardInterrupt

    seconds = {"a.wav": 1, "b.wav": 15, "c.wav": 6, "d.wav": 0.3, "e.wav": 5.0}
    manifest = make_recordings(tmp_path / "data", seconds)
    calls: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        build_features(manifest, tmp_path / "data", store, [WAVE], on_progress=stop)
    build_features(manifest, tmp_path / "data", store, [WAVE])
    whole = FeatureStore.open(tmp_path / "whole.zarr", create=True)
    build_features(manifest, tmp_path / "data", whole, [WAVE])
    assert files(whole.path) == files(store.path)


def test_a_feature_of_windows_has_their_lengths(
    tmp_path: Path, store: FeatureStore, make_recordings: Recordings
) -> None:
    manifest = make_recordings(tmp_path / "data", {"a.ogg": 2.05}, length=0.5, hop=0.5)
    mel = LogMel(wave=WAVE, n_fft=256, hop_length=100, n_mels=16, fmax=2000.0)
    build_features(manifest, tmp_path / "data", store, [mel])
    assert [store[mel.key].shape(id)[1] for id in manifest["id"]] == [21, 21, 21, 21]


def test_a_deadly_window_takes_the_rest_of_its_recording(tmp_path: Path, store: FeatureStore) -> None:
    names = ["a 0", "a 1", "b 0", "b 1", "b 2", "whole"]
    spans = {name: Span(int(name[2:]), int(name[2:]) + 1) for name in names[:-1]}
    paths = {name: tmp_path / name[0] for name in names}
    with store.writer(WAVE.key, "float32", WAVE.parameters()) as writer:
        (block,) = writer.plan([(name, "1") for name in names])
    job = BlockJob(((WAVE, block),), store.url, paths, False, spans=spans)
    assert set(job.without("b 1", "died").left_out) == {"b 1", "b 2"}
    assert set(job.without("whole", "died").left_out) == {"whole"}
    of_features = replace(job, parts=((Stats(WAVE), block),))
    assert set(of_features.without("b 1", "died").left_out) == {"b 1"}
    workers = Workers(1)
    dying = SimpleNamespace(job=job, end=lambda: "was killed")
    for clip, left_out in [("b 0", set()), ("b 1", {"b 1", "b 2"}), ("a 1", set()), ("a 0", {"a 0", "a 1"})]:
        dying.clip = clip
        assert set(workers._after_death(cast("_Worker", dying)).left_out) == left_out
