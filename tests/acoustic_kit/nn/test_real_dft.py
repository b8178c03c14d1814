"""The spectrum in real matrix products, held to torch's FFT in float64."""

import pytest
import torch

from acoustic_kit.dsp.filterbanks import mel_filters
from acoustic_kit.nn.real_dft import filtered_spectrum, frames_of


@pytest.mark.parametrize("magnitude", [False, True])
@pytest.mark.parametrize(
    ("n", "hop", "fmax"), [(2048, 512, 8000.0), (400, 160, 4000.0), (882, 441, 8000.0), (26, 7, 8000.0)]
)
def test_products_are_an_fft(n: int, hop: int, fmax: float, magnitude: bool) -> None:
    waves = torch.randn(2, 5000, generator=torch.Generator().manual_seed(0))
    filters, window = mel_filters(16000, n, 8, 0.0, fmax).weights, torch.hann_window(n, dtype=torch.float64)
    spectrum = torch.stft(waves.double(), n, hop, window=window, center=False, return_complex=True).abs()
    expected = torch.from_numpy(filters).double() @ (spectrum if magnitude else spectrum.square())
    for dtype in (torch.float32, torch.float64):
        found = filtered_spectrum(frames_of(waves.to(dtype), n, hop) * window.to(dtype), filters, magnitude=magnitude)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6 * float(expected.max()))


@pytest.mark.parametrize(("n", "hop"), [(512, 128), (400, 150), (64, 100), (30, 7)])
def test_frames_are_those_of_unfold(n: int, hop: int) -> None:
    waves = torch.randn(3, 1003, generator=torch.Generator().manual_seed(0))
    assert torch.equal(frames_of(waves, n, hop), waves.unfold(1, n, hop))
