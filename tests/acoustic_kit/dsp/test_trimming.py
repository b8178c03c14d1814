"""Trimming against librosa, peak and length."""

from pathlib import Path

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acoustic_kit.dsp.decoding import decode, resample
from acoustic_kit.dsp.frame_energy import hop_energy
from acoustic_kit.dsp.trimming import fit_length, normalize_peak, trim


def noise(n: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


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
    for path in sorted((esc10 / "audio").iterdir()):
        wave = resample(*decode(path), 22050)
        if trim(wave, 60.0)[1] != tuple(librosa.effects.trim(wave)[1]):
            different.append(path.name)
    assert different == []


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
