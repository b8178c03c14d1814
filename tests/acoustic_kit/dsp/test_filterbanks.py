import librosa
import numpy as np
import pytest
import scipy.fft

from acoustic_kit.dsp.filterbanks import chroma_filters, contrast_bands, dct_basis, fft_frequencies, mel_filters

SPECTRA = [(4000, 256), (8000, 2048), (16000, 400), (22050, 2048), (44100, 1764), (48000, 4096)]


@pytest.mark.parametrize(("sample_rate", "n_fft"), SPECTRA)
@pytest.mark.parametrize(
    ("n_mels", "fmin", "top"), [(128, 0.0, 1.0), (64, 20.0, 0.9), (40, 1200.0, 1.0), (1, 0.0, 0.5)]
)
@pytest.mark.filterwarnings("ignore:Empty filters")
def test_mel_filters_are_librosas(sample_rate: int, n_fft: int, n_mels: int, fmin: float, top: float) -> None:
    fmax = top * sample_rate / 2
    bank = mel_filters(sample_rate, n_fft, n_mels, fmin, fmax)
    theirs = librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax)
    np.testing.assert_allclose(bank.weights, theirs, rtol=1e-5, atol=1e-8)
    for weights, first, end in zip(*bank, strict=True):
        assert not weights[:first].any()
        assert not weights[end:].any()


@pytest.mark.parametrize("tuning", [-0.5, 0.0, 0.13])
@pytest.mark.parametrize(("sample_rate", "n_fft"), SPECTRA)
def test_chroma_filters_are_librosas(sample_rate: int, n_fft: int, tuning: float) -> None:
    theirs = librosa.filters.chroma(sr=sample_rate, n_fft=n_fft, tuning=tuning)
    np.testing.assert_allclose(chroma_filters(sample_rate, n_fft, tuning).weights, theirs, rtol=1e-5, atol=1e-8)


def test_chroma_of_a_pure_tone_is_its_pitch_class() -> None:
    frequencies, weights = fft_frequencies(22050, 8192), chroma_filters(22050, 8192).weights
    assert [int(weights[:, np.abs(frequencies - hz).argmin()].argmax()) for hz in (523.25, 880.0, 987.77)] == [0, 9, 11]


def test_dct_basis_is_scipys_orthonormal_dct() -> None:
    rows = np.random.default_rng(0).standard_normal((128, 5)).astype(np.float32)
    np.testing.assert_allclose(dct_basis(20, 128) @ rows, scipy.fft.dct(rows, axis=0, norm="ortho")[:20], atol=1e-5)


@pytest.mark.parametrize("sample_rate", [1000, 4000, 8000, 12800, 16000, 22050, 48000])
@pytest.mark.parametrize("n_fft", [2, 64, 2048])
def test_contrast_bands_hold_bins_and_end_at_nyquist(sample_rate: int, n_fft: int) -> None:
    bands = contrast_bands(sample_rate, n_fft)
    first, end, extreme = bands.T
    assert (first < end).all()
    assert (extreme >= 1).all()
    assert (extreme <= end - first).all()
    assert end[-1] == n_fft // 2 + 1
    assert 2 <= len(bands) <= 7
