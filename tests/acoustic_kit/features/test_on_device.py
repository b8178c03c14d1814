"""Features that torch computes on a device: the CPU's values, and builds that come out as others do.

Without a GPU, the device is torch's CPU: the same code but for the copies.
"""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import soundfile
import torch

from acoustic_kit.data import file_digest
from acoustic_kit.device import Compute
from acoustic_kit.errors import AkitError
from acoustic_kit.features import Ast, AstInput, Feature, LogMel, Pcen, Stats, Wave, build_features, on_device
from acoustic_kit.features.build import gpu as device_jobs
from acoustic_kit.features.build.gpu import DeviceJobs
from acoustic_kit.features.build.job import RETRY, BlockJob, Stages
from acoustic_kit.features.build.worker import Workers
from acoustic_kit.features.feature import StoredClip
from acoustic_store import FeatureStore

RATE = 8000
WAVE = Wave(RATE, trim_top_db=None)
MEL = LogMel(WAVE, n_fft=512, hop_length=128, n_mels=32)
CPU = torch.device("cpu")


def stored(wave: np.ndarray) -> StoredClip:
    """As the store holds it: int16 and a scale."""
    scale = np.float32(np.abs(wave).max() / 32767 or 1)
    return np.round(wave / scale).astype(np.int16), scale


def ragged(rate: int) -> list[StoredClip]:
    """Noise of several lengths, loud and faint, silence, a clip of one frame and one of one sample."""
    random = np.random.default_rng(0)
    noises = [10.0**-k * random.standard_normal(n) for k, n in enumerate((rate, 3 * rate // 2, 700, 100, 1))]
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    return [stored(wave.astype(np.float32)) for wave in (*noises, tone, np.zeros(rate // 2))]


def real(folder: Path, wave: Wave) -> list[StoredClip]:
    return [stored(wave.compute(path)) for path in sorted((folder / "audio").iterdir())[::40]]


def pairs(feature: Feature, clips: list[StoredClip], device: torch.device = CPU) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each clip: of the device, and of the CPU's kernels."""
    theirs = feature.compute_batch([on_device.as_float(clip) for clip in clips])
    found = list(zip(feature.compute_on(device, clips), theirs, strict=True))
    for ours, cpus in found:
        assert (ours.shape, ours.dtype, ours.flags.c_contiguous) == (cpus.shape, np.float32, True)
    return found


MELS = [
    LogMel(),
    LogMel(Wave(RATE), 512, 100, 40, mel_scale="htk", fmin=20.0, fmax=3000.0, pad_mode="reflect", top_db=30.0),
    LogMel(Wave(RATE), 512, 100, 40, scale="power"),
    LogMel(Wave(RATE), 512, 100, 40, scale="magnitude", pad_mode="reflect"),
]
EXACT_PCENS = [
    Pcen(precision="float64"),
    Pcen(Wave(RATE), (512, 256, 1024), 100, 40, spectrum="power", precision="float64", pad_mode="reflect"),
    Pcen(Wave(RATE), (512,), 100, 40, start="first", full_scale=1.0, b=0.2, precision="float64"),
]


def check_mel(feature: LogMel, clips: list[StoredClip], device: torch.device = CPU) -> None:
    for ours, cpus in pairs(feature, clips, device):
        tolerance = 0.01 if feature.scale == "db" else 1e-6 * cpus.max() + 1e-30
        np.testing.assert_allclose(ours, cpus, rtol=0, atol=tolerance)


@pytest.mark.parametrize("feature", MELS, ids=lambda f: f"{f.scale} {f.pad_mode}")
def test_mel_spectrograms_equal_the_cpu_to_a_hundredth_decibel(feature: LogMel) -> None:
    check_mel(feature, ragged(feature.wave.sample_rate))


@pytest.mark.parametrize("feature", EXACT_PCENS, ids=lambda f: f"{f.spectrum} {f.pad_mode} {f.start}")
def test_pcen_with_a_float64_fft_is_the_cpus_to_1e4(feature: Pcen) -> None:
    for ours, cpus in pairs(feature, ragged(feature.wave.sample_rate)):
        np.testing.assert_allclose(ours, cpus, rtol=0, atol=1e-4)


def test_pcen_is_the_cpus_to_1e3_where_the_fft_has_digits_for_it() -> None:
    feature = Pcen()
    clips = ragged(22050)
    power = LogMel(feature.wave, 2048, 512, scale="magnitude")
    for (ours, cpus), clip in zip(pairs(feature, clips), clips, strict=True):
        loud = power.compute(on_device.as_float(clip))
        heard = loud >= 1e-4 * loud.max()
        np.testing.assert_allclose(ours[0][heard], cpus[0][heard], rtol=0, atol=1e-3)


@pytest.mark.parametrize("feature", [AstInput(), AstInput(n_mels=40, max_length=50)], ids=["whole", "cut"])
def test_ast_input_is_the_cpus_to_1e3(feature: AstInput) -> None:
    for ours, cpus in pairs(feature, ragged(16000)):
        np.testing.assert_allclose(ours, cpus, rtol=0, atol=1e-3)


def test_embeddings_are_the_cpus(tiny_ast: Path) -> None:
    inputs = list(np.random.default_rng(0).standard_normal((40, 64, 32)).astype(np.float32))
    feature = Ast(AstInput(n_mels=32, max_length=64), str(tiny_ast))
    for ours, cpus in pairs(feature, [(x, None) for x in inputs]):
        np.testing.assert_allclose(ours, cpus, rtol=0, atol=1e-4)


def test_real_clips_have_the_cpus_values(esc10: Path) -> None:
    waves = real(esc10, Wave())
    check_mel(LogMel(), waves)
    for ours, cpus in pairs(Pcen(precision="float64"), waves):
        np.testing.assert_allclose(ours, cpus, rtol=0, atol=1e-4)
    for ours, cpus in pairs(AstInput(), real(esc10, Wave(16000))):
        np.testing.assert_allclose(ours, cpus, rtol=0, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("tf32", [False, True])
def test_a_gpu_has_the_cpus_values(tf32: bool, tiny_ast: Path) -> None:
    cuda, before = torch.device("cuda"), torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        for feature in MELS:
            check_mel(feature, ragged(feature.wave.sample_rate), cuda)
        inputs = list(np.random.default_rng(0).standard_normal((40, 64, 32)).astype(np.float32))
        embeddings = Ast(AstInput(n_mels=32, max_length=64), str(tiny_ast))
        close = [(feature, ragged(feature.wave.sample_rate), 1e-4) for feature in EXACT_PCENS]
        for feature, clips, tolerance in [
            *close, (AstInput(), ragged(16000), 1e-3), (embeddings, [(x, None) for x in inputs], 1e-3),
        ]:  # fmt: skip
            for ours, cpus in pairs(feature, clips, cuda):
                np.testing.assert_allclose(ours, cpus, rtol=0, atol=tolerance)
        assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_clips_values_do_not_depend_on_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    clips = ragged(RATE)
    together = MEL.compute_on(CPU, clips)
    monkeypatch.setattr(on_device, "CELLS", 1)
    for ours, alone in zip(together, MEL.compute_on(CPU, clips), strict=True):
        np.testing.assert_allclose(ours, alone, rtol=0, atol=1e-3)


@pytest.mark.parametrize("wave", [np.array([0.1, np.nan], np.float32), np.zeros(0, np.float32)])
def test_waves_that_are_none_are_refused(wave: np.ndarray) -> None:
    with pytest.raises(AkitError, match="it holds"):
        MEL.compute_on(CPU, [(np.ones(500, np.float32), None), (wave, None)])


def test_too_large_batches_are_halved_and_clips_go_to_the_cpu() -> None:
    tried: list[int] = []

    def compute(items: list[int]) -> list[int]:
        tried.append(len(items))
        if len(items) > 2 or 3 in items:
            raise torch.OutOfMemoryError
        return [10 * item for item in items]

    with pytest.warns(UserWarning, match="is computed on the CPU"):
        assert on_device.as_fits(compute, [1, 2, 3, 4, 5], lambda item: -item) == [10, 20, -3, 40, 50]
    assert tried == [5, 2, 3, 1, 2]


@pytest.fixture
def on_torchs_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds go the way of a GPU, on torch's CPU."""
    monkeypatch.setattr(Compute, "gpu", lambda asked: None if asked.device == "cuda:9" else "cpu")


def make_clips(folder: Path, n: int) -> pl.DataFrame:
    random = np.random.default_rng(0)
    folder.mkdir()
    rows = []
    for i in range(n):
        path = folder / f"{i:04d}.wav"
        soundfile.write(path, 0.1 * random.standard_normal(300 + 7 * (i % 50)), RATE)
        rows.append((path.stem, path.name, file_digest(path), path.stat().st_size, path.stat().st_mtime_ns))
    return pl.DataFrame(rows, schema=["id", "path", "content", "size", "mtime_ns"], orient="row")


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def new_store(path: Path) -> FeatureStore:
    return FeatureStore.open(path, create=True)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_build_comes_out_as_on_the_cpu(tmp_path: Path, on_torchs_cpu: None, workers: int) -> None:
    data, features = tmp_path / "data", [MEL, Stats(WAVE), Pcen(WAVE, (256,), 128, 16, precision="float64")]
    manifest = make_clips(data, 150)
    (data / "0003.wav").write_text("no sound")
    by_cpu, by_gpu = new_store(tmp_path / "cpu.zarr"), new_store(tmp_path / "gpu.zarr")
    theirs = build_features(manifest, data, by_cpu, features, device="cuda:9")
    seen: dict[str, list[int]] = {}
    ours = build_features(
        manifest, data, by_gpu, features, device="cuda", workers=workers,
        on_progress=lambda feature, done, total: seen.setdefault(feature.name, []).append(done),
    )  # fmt: skip
    assert [(r.feature.name, bool(r.gpu)) for r in ours] == [
        ("wave", False), ("logmel", True), ("pcen", True), ("stats", False),
    ]  # fmt: skip
    assert {r.feature.key: r.failures for r in ours} == {r.feature.key: r.failures for r in theirs}
    assert all(found[-1] == 150 and sorted(found) == found for found in seen.values())
    assert files(by_gpu.path / WAVE.key) == files(by_cpu.path / WAVE.key)
    for feature in (MEL, features[2]):
        assert [ids for _, ids in by_gpu[feature.key].blocks()] == [ids for _, ids in by_cpu[feature.key].blocks()]
        for id in by_cpu[feature.key].ids:
            np.testing.assert_allclose(by_gpu[feature.key].read(id), by_cpu[feature.key].read(id), atol=1e-3)
    again = build_features(manifest, data, by_gpu, features, device="cuda", workers=workers)
    assert [(r.built, r.held) for r in again] == [(0, 150)] * 4


def test_features_of_features_on_the_gpu_are_computed_there(
    tmp_path: Path, on_torchs_cpu: None, tiny_ast: Path
) -> None:
    feature = Ast(AstInput(n_mels=32, max_length=64), str(tiny_ast))
    manifest, store = make_clips(tmp_path / "data", 70), new_store(tmp_path / "features.zarr")
    reports = build_features(manifest, tmp_path / "data", store, [feature], device="auto")
    assert [(r.feature.name, r.built, bool(r.gpu)) for r in reports] == [
        ("wave", 70, False), ("ast_input", 70, True), ("ast", 70, True),
    ]  # fmt: skip
    for id in manifest["id"][::30]:
        np.testing.assert_allclose(
            store[feature.key].read(id), feature.compute(store[feature.input.key].read(id)), atol=1e-4
        )


def test_new_changed_and_silenced_clips_are_built(tmp_path: Path, on_torchs_cpu: None) -> None:
    data, store = tmp_path / "data", new_store(tmp_path / "features.zarr")
    manifest = make_clips(data, 130)
    build_features(manifest[:100], data, store, [MEL], device="cuda")
    (data / "0110.wav").write_text("no sound")
    soundfile.write(data / "0002.wav", np.full(4000, 0.25), RATE)
    reports = build_features(manifest, data, store, [MEL], device="cuda", on_error="silence")
    assert [(r.built, r.held, r.silenced) for r in reports] == [(31, 99, ["0110"])] * 2
    assert store[MEL.key].read("0110").max() < -90
    assert store[MEL.key].shape("0002") == (32, 1 + 4000 // 128)


@dataclass(frozen=True)
class Picky(Feature):
    """Refuses clips of 643 samples."""

    name, version, has_device_form = "picky", 1, True
    wave: Wave = WAVE

    def compute_on(self, device: torch.device, sources: Sequence[StoredClip]) -> list[np.ndarray]:
        if any(len(values) == 643 for values, _ in sources):
            raise AkitError("not this one")
        return [values[:3].astype(np.float32) for values, _ in sources]


def test_a_failing_clip_is_recorded_or_stops_the_build(tmp_path: Path, on_torchs_cpu: None) -> None:
    data, store = tmp_path / "data", new_store(tmp_path / "features.zarr")
    manifest = make_clips(data, 70)  # of which one has 643 samples
    with pytest.raises(AkitError, match="0049: not this one"):
        build_features(manifest, data, store, [Picky()], device="cuda", on_error="fail")
    report = build_features(manifest, data, store, [Picky()], device="cuda")[-1]
    assert (report.built, report.failures) == (70, {"0049": "not this one"})


def test_the_next_build_retries_clips_on_which_workers_died(
    tmp_path: Path, on_torchs_cpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, store = tmp_path / "data", new_store(tmp_path / "features.zarr")
    manifest = make_clips(data, 70)

    def run(self: Workers, jobs: Sequence[BlockJob], in_this_process: bool) -> Iterator[tuple[BlockJob, Stages]]:
        for job in jobs:
            found = job.without("0007", "it died") if "0007" in dict(job.clips) else job
            yield found, found.run()

    with monkeypatch.context() as patch:
        patch.setattr(Workers, "run", run)
        reports = build_features(manifest, data, store, [MEL], device="cuda", workers=2)
    assert [(r.built, r.failures) for r in reports] == [(70, {"0007": "it died"})] * 2
    assert store[MEL.key].state("0007") == RETRY
    reports = build_features(manifest, data, store, [MEL], device="cuda")
    assert [(r.built, r.failures) for r in reports] == [(1, {})] * 2


class StubJob:
    """Clips of a feature, whose source is `wave`; it notes what is done to it."""

    def __init__(self, name: str, clips: str, log: list[str], error: Exception | None = None) -> None:
        self.name, self.clips, self.log, self.error = name, tuple((id, "") for id in clips), log, error
        self.feature = SimpleNamespace(key=name, source=SimpleNamespace(key="wave"))
        self.parts = [(self.feature, self)]

    def read(self) -> list[str]:
        return [id for id, _ in self.clips]

    def compute(self, sources: list[str]) -> list[str]:
        if self.error is not None:
            raise self.error
        return sources

    def write(self, rows: list[str]) -> None:
        self.log.append("".join(rows))


def given(*jobs: StubJob, unbuilt: str) -> DeviceJobs:
    return DeviceJobs([deque(jobs)], {"wave": set(unbuilt), "mel": set()})


def test_jobs_begin_when_their_sources_are_there_and_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_jobs, "MIN_ROUND", 2)
    log: list[str] = []
    jobs = [StubJob("mel", clips, log) for clips in ("ab", "cd", "ef", "gh")]
    with given(*jobs, unbuilt="cdefgh") as device:

        def finished_after(built: str, rest: bool = False) -> list[str]:
            device.built(StubJob("wave", built, log))
            device.begin(lambda job: job, rest)
            return ["".join(id for id, _ in job.clips) for job, _ in device.finished(wait=True)]

        assert finished_after("") == []  # one is ready: too few
        assert finished_after("ce") == []
        assert finished_after("d") == ["ab", "cd"]
        assert finished_after("gh") == []  # in order: not before "ef"
        assert finished_after("f") == ["ef", "gh"]
        assert finished_after("", rest=True) == []
    assert log == ["ab", "cd", "ef", "gh"]


def test_the_error_of_a_job_is_raised_and_ends_the_queue() -> None:
    log: list[str] = []
    jobs = [StubJob("mel", "a", log), StubJob("mel", "b", log, AkitError("no")), StubJob("mel", "c", log)]
    with given(*jobs, unbuilt="") as device:
        device.begin(lambda job: job, rest=True)
        with pytest.raises(AkitError, match="no"):
            list(device.finished(wait=True))
    assert log == ["a"]


def test_leaving_early_ends_after_the_block_under_way() -> None:
    log: list[str] = []
    jobs = [StubJob("mel", id, log) for id in "abcdefgh"]
    hold = threading.Event()
    jobs[1].compute = lambda sources: (hold.wait(10), sources)[1]
    with given(*jobs, unbuilt="") as device:
        device.begin(lambda job: job, rest=True)
        threading.Timer(0.2, hold.set).start()
    assert log[:1] == ["a"]
    assert len(log) < len(jobs)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_not_replaced(tmp_path: Path) -> None:
    store, manifest = new_store(tmp_path / "features.zarr"), make_clips(tmp_path / "data", 1)
    for feature in (MEL, Stats(WAVE)):
        with pytest.raises(AkitError, match="no CUDA device"):
            build_features(manifest, tmp_path / "data", store, [feature], device="cuda:1")


@pytest.mark.gpu
def test_a_gpu_builds_what_the_cpu_builds(tmp_path: Path) -> None:
    data, manifest = tmp_path / "data", make_clips(tmp_path / "data", 150)
    stores = {device: new_store(tmp_path / f"{device}.zarr") for device in ("cpu", "cuda")}
    for device, store in stores.items():
        build_features(manifest, data, store, [MEL], device=device, workers=2)
    assert files(stores["cuda"].path / WAVE.key) == files(stores["cpu"].path / WAVE.key)
    for id in manifest["id"]:
        ours, cpus = (stores[device][MEL.key].read(id) for device in ("cuda", "cpu"))
        np.testing.assert_allclose(ours, cpus, rtol=0, atol=0.01)
    with pytest.raises(AkitError, match="There is no cuda:99"):
        build_features(manifest, data, stores["cpu"], [MEL], device="cuda:99")
