import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from acoustic_kit.dsp.frame_energy import hop_energy
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features.wave import Sound, Wave, decode, fit_length, normalize_peak, resample, trim


def noise(n: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


def clips(folder: Path, step: int) -> list[Path]:
    return sorted((folder / "audio").iterdir())[::step]


# Decoding


@pytest.mark.parametrize(("suffix", "channels"), [(".wav", 1), (".wav", 2), (".flac", 2), (".ogg", 1), (".wav", 5)])
def test_decode_is_the_mean_of_the_channels(tmp_path: Path, suffix: str, channels: int) -> None:
    path = tmp_path / f"clip{suffix}"
    soundfile.write(path, noise(3000 * channels).reshape(-1, channels), 11025)
    wave, rate = decode(path)
    theirs, _ = librosa.load(path, sr=None)
    assert (rate, wave.dtype, wave.flags.c_contiguous) == (11025, np.float32, True)
    np.testing.assert_allclose(wave, theirs, atol=1e-7)


def test_bad_audio_is_refused_in_one_line_without_the_path(tmp_path: Path) -> None:
    float_wav = {"samplerate": 8000, "subtype": "FLOAT"}
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 8000)
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan]), **float_wav)
    soundfile.write(tmp_path / "inf.wav", np.array([0.0, -np.inf]), **float_wav)
    soundfile.write(tmp_path / "huge.wav", np.array([0.0, -1e30]), **float_wav)
    soundfile.write(tmp_path / "slow.wav", np.zeros(100), 1)
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "nothing.mp3").write_bytes(b"")
    (tmp_path / "bare.raw").write_bytes(b"12345678")
    (tmp_path / "folder.wav").mkdir()
    reasons = {
        "empty.wav": "no samples",
        "nan.wav": "NaN",
        "inf.wav": "NaN or infinite",
        "huge.wav": "1e\\+30",
        "slow.wav": "1 Hz",
        "text.wav": "cannot be decoded: Format not recognised",
        "nothing.mp3": "the file is empty",
        "bare.raw": "Format not recognised",
        "folder.wav": "does not exist",
        "missing.wav": "does not exist",
    }
    for name, reason in reasons.items():
        with pytest.raises(AkitError, match=reason) as caught:
            Wave().compute(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert name not in str(caught.value)


def test_lengths_beyond_memory_in_headers_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "liar.flac"
    soundfile.write(path, noise(8000), 8000)
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F  # STREAMINFO's 36-bit number of samples
    content[22:26] = b"\xff" * 4
    path.write_bytes(content)
    assert len(decode(path).samples) == 8000


# Resampling


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5000), st.sampled_from([8000, 11025, 22050, 44100, 48000]), st.sampled_from([4000, 16000, 22050]))
def test_resample_is_librosas(n: int, rate: int, target: int) -> None:
    wave = noise(n)
    ours = resample(wave, rate, target)
    np.testing.assert_array_equal(ours, librosa.resample(wave, orig_sr=rate, target_sr=target))
    assert ours.dtype == np.float32


# Trimming


@settings(deadline=None, max_examples=80)
@given(
    parts=st.lists(st.tuples(st.integers(0, 6000), st.integers(-8, 0)), min_size=1, max_size=5),
    seed=st.integers(0, 2**32 - 1),
    top_db=st.sampled_from([0.1, 20.0, 60.0, 100.0]),
)
def test_trim_is_librosas_to_the_sample(parts: list[tuple[int, int]], seed: int, top_db: float) -> None:
    wave = np.concatenate([noise(1, seed), *(10.0**level * noise(n, seed + 1) for n, level in parts)])
    wave = wave.astype(np.float32)
    theirs, interval = librosa.effects.trim(wave, top_db=top_db)
    ours, found = trim(wave, top_db)
    assert found == tuple(interval)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("top_db", [20.0, 40.0, 60.0])
def test_trim_treats_frames_at_the_threshold_as_librosa(top_db: float) -> None:
    quiet = np.full(8192, 10 ** (-top_db / 20), dtype=np.float32)
    wave = np.concatenate([quiet, np.ones(8192, dtype=np.float32), quiet])
    assert trim(wave, top_db)[1] == tuple(librosa.effects.trim(wave, top_db=top_db)[1])


@pytest.mark.parametrize("n", [1, 511, 512, 513, 2048, 10000])
def test_silence_is_kept_whole(n: int) -> None:
    assert trim(np.zeros(n, dtype=np.float32), 60.0)[1] == (0, n)


def test_trim_is_librosas_on_all_400_real_clips(esc10: Path) -> None:
    different = []
    for path in clips(esc10, 1):
        wave = resample(*decode(path), 22050)
        if trim(wave, 60.0)[1] != tuple(librosa.effects.trim(wave)[1]):
            different.append(path.name)
    assert different == []


def test_wave_is_librosas_load_and_trim_on_real_clips(esc10: Path) -> None:
    for path in clips(esc10, 80):
        theirs, _ = librosa.effects.trim(librosa.load(path)[0])
        np.testing.assert_array_equal(Wave().compute(path), theirs)
        whole = Wave(sample_rate=16000, trim_top_db=None).compute(path)
        np.testing.assert_array_equal(whole, librosa.load(path, sr=16000)[0])


@pytest.mark.parametrize("n", [1, 700, 5000, 30000])
def test_trim_with_reflected_ends_equals_librosa(n: int) -> None:
    wave = (noise(n) * np.linspace(0, 1, n) ** 4).astype(np.float32)
    padded = np.pad(wave, 1024, mode="reflect")
    power = librosa.feature.rms(y=padded, center=False)[0] ** 2
    sound = np.flatnonzero(librosa.power_to_db(power, ref=np.max, top_db=None) > -40)
    expected = (sound[0] * 512, min(n, (sound[-1] + 1) * 512))
    assert trim(wave, 40.0, "reflect")[1] == expected


@given(n=st.integers(1, 3000), before=st.sampled_from([0, 1, 1024]), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=30)
def test_hop_energy_is_numpys_to_the_last_bit(n: int, before: int, seed: int) -> None:
    wave = noise(n, seed)
    padded = np.pad(wave, (before, 2048))[: (n + before) // 512 * 512 + 512].reshape(-1, 512)
    np.testing.assert_array_equal(hop_energy(wave, before, len(padded)), np.square(padded).sum(axis=1))


# Loudness and length


@given(n=st.integers(1, 50), length=st.integers(1, 50))
def test_one_length_is_the_middle_or_padded_at_the_end(n: int, length: int) -> None:
    wave = np.arange(1, n + 1, dtype=np.float32)
    fitted = fit_length(wave, length)
    if n <= length:
        assert fitted.tolist() == [*wave, *[0] * (length - n)]
    else:
        first = (n - length) // 2
        assert fitted.tolist() == wave[first : first + length].tolist()


@given(level=st.floats(1e-6, 1e6), peak=st.floats(1e-3, 1e3))
def test_the_loudest_sample_is_the_peak_asked_for(level: float, peak: float) -> None:
    assert np.abs(normalize_peak(np.float32(level) * noise(64), peak)).max() == pytest.approx(peak, rel=1e-5)


def test_silence_has_no_peak() -> None:
    assert not normalize_peak(np.zeros(5, np.float32)).any()


def test_a_wave_is_trimmed_then_normalised_then_fitted() -> None:
    loud = np.concatenate([np.zeros(4096), 0.25 * np.ones(4096), np.zeros(8192)]).astype(np.float32)
    wave = Wave(8000, peak=1.0, seconds=2.0).compute(Sound(loud, 8000))
    trimmed = trim(loud, 60.0)[0]
    assert len(wave) == 16000
    np.testing.assert_array_equal(wave[: len(trimmed)], 4 * trimmed)
    assert not wave[len(trimmed) :].any()


# Parameters


def test_all_parameters_and_the_resampler_decide_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    base = Wave()
    changes = [
        {"sample_rate": 16000},
        {"trim_top_db": None},
        {"trim_pad": "reflect"},
        {"peak": 1.0},
        {"seconds": 4.0},
        {"encoding": "float32"},
    ]
    others = [replace(base, **change) for change in changes]
    assert len({base.key, *(other.key for other in others)}) == 7
    monkeypatch.setattr("acoustic_kit.features.wave._resampler_version", lambda: "0.0")
    assert Wave().key != base.key


def test_storage_follows_the_encoding() -> None:
    assert [Wave().storage_dtype, Wave(encoding="float32").storage_dtype] == ["int16", "float32"]


@pytest.mark.parametrize(
    "wrong",
    [{"sample_rate": 0}, {"sample_rate": 10**7}, {"trim_top_db": 0.0}, {"trim_top_db": np.inf}, {"encoding": "mp3"}],
)
def test_wrong_parameters_are_refused(wrong: dict) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Wave(**wrong)


def test_importing_the_features_loads_no_heavy_library() -> None:
    code = (
        "import sys, acoustic_kit.features.wave, acoustic_kit.features.logmel, acoustic_kit.features.stats;"
        "print(sorted({'numba', 'scipy', 'soundfile', 'soxr'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
