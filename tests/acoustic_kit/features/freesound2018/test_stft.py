import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acoustic_kit.errors import AkitError
from acoustic_kit.features.freesound2018.stft import istft, stft


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(n).astype(np.float32)


@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")
@pytest.mark.parametrize("n", [1025, 5000, 40_000])
@pytest.mark.parametrize(("n_fft", "hop_length"), [(2048, 512), (512, 100)])
def test_spectra_and_magnitudes_are_librosas(n: int, n_fft: int, hop_length: int) -> None:
    wave = noise(n)
    theirs = librosa.stft(wave, n_fft=n_fft, hop_length=hop_length, pad_mode="reflect")
    spectra, magnitude = stft(wave, n_fft, hop_length)
    assert (spectra.dtype, magnitude.dtype) == (np.complex64, np.float32)
    np.testing.assert_allclose(spectra, theirs, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(magnitude, np.abs(theirs), rtol=1e-6)  # of each bin: a float32 FFT misses this


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 5000), st.integers(0, 100))
def test_the_inverse_gives_the_wave_back(n: int, seed: int) -> None:
    wave = noise(n, seed)
    spectra, _ = stft(wave, 2048, 512)
    found = istft(spectra, np.ones(spectra.shape, np.float32), 512, n)
    np.testing.assert_allclose(found, wave, rtol=0, atol=1e-5)


def test_the_inverse_of_weighted_spectra_is_librosas() -> None:
    wave = noise(10_000)
    spectra, magnitude = stft(wave, 1024, 256)
    weights = np.random.default_rng(1).random(magnitude.shape).astype(np.float32)
    theirs = librosa.istft(spectra * weights, hop_length=256, length=10_000)
    np.testing.assert_allclose(istft(spectra, weights, 256, 10_000), theirs, rtol=0, atol=1e-5)


def test_no_sound_is_refused() -> None:
    with pytest.raises(AkitError, match="no samples"):
        stft(np.zeros(0, np.float32), 2048, 512)
