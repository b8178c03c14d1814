"""The law of each noise: its ratio to the sound, its spectrum, its range."""

import numpy as np
import pytest
import torch

from acoustic_kit.recipe.end_to_end_audio.clip_noise import normal_noise
from acoustic_kit.recipe.end_to_end_audio.random_apply import Op
from acoustic_kit.recipe.end_to_end_audio.wave_noise import (
    COLORS,
    background_noise,
    colored_noise,
    even_noise,
    hum,
    phase_noise,
    white_noise,
)
from acoustic_kit.training import ClipRng
from acoustic_kit.training.clip_rng import digests

N, CLIPS, RATE = 2**15, 16, 22050
DRAWS = ClipRng("seed", digests([str(i) for i in range(CLIPS)]), torch.device("cpu"))


@pytest.fixture
def waves() -> torch.Tensor:
    """Waves of different levels."""
    levels = torch.logspace(-2, 0, CLIPS)[:, None]
    return levels * torch.randn(CLIPS, N, generator=torch.Generator().manual_seed(0))


def added(op: Op, waves: torch.Tensor) -> np.ndarray:
    return (op(waves.double(), DRAWS) - waves.double()).numpy()


def ratio(waves: torch.Tensor, noise: np.ndarray) -> np.ndarray:
    """dB of the wave over the noise."""
    return 10 * np.log10(np.mean(waves.double().numpy() ** 2, axis=1) / np.mean(noise**2, axis=1))


@pytest.mark.parametrize("op", [white_noise(30), even_noise(30)], ids=["white", "even"])
def test_white_and_even_noise_lie_30_db_below(waves: torch.Tensor, op: Op) -> None:
    noise = added(op, waves)
    assert np.abs(ratio(waves, noise) - 30).max() < 0.15  # as far as so many samples tell
    power = np.abs(np.fft.rfft(noise / noise.std(axis=1, keepdims=True)))[:, 1:-1] ** 2
    bands = power.reshape(CLIPS, -1)[:, : 16 * 1000].reshape(CLIPS, 16, -1).mean(axis=(0, 2))
    np.testing.assert_allclose(bands / bands.mean(), 1, atol=0.1)


def test_even_noise_is_bounded_by_the_square_root_of_three(waves: torch.Tensor) -> None:
    noise = added(even_noise(30), waves)
    sigma = waves.double().square().mean(dim=1, keepdim=True).sqrt().numpy() * 10**-1.5
    largest = np.abs(noise / sigma).max(axis=1)
    assert np.all((largest <= np.sqrt(3) + 1e-6) & (largest > 1.73))


@pytest.mark.parametrize("colour", COLORS)
def test_colored_noise_is_exactly_30_db_below_and_has_its_slope(waves: torch.Tensor, colour: str) -> None:
    noise = added(colored_noise(COLORS[colour], 30), waves)
    without_mean = noise - noise.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(ratio(waves, without_mean), 30, atol=1e-3)
    power = (np.abs(np.fft.rfft(noise)) ** 2 / np.mean(noise**2, axis=1, keepdims=True)).mean(axis=0)[10:-10]
    slope = np.polyfit(np.log(np.arange(len(power)) + 11), np.log(power), 1)[0]
    assert slope == pytest.approx(2 * COLORS[colour], abs=0.1)


def test_colored_noise_is_the_formula_and_its_mean_counts_twice(waves: torch.Tensor) -> None:
    noise = added(colored_noise(-1.0, 30), waves)[0]
    spectrum = np.fft.rfft(normal_noise(DRAWS, "coloured noise", N)[0].double().numpy())
    plain = np.fft.irfft(spectrum / np.arange(1, N // 2 + 2), N)
    sigma = float(waves[0].double().square().mean().sqrt()) * 10**-1.5
    np.testing.assert_allclose(noise, sigma * (plain + plain.mean()) / plain.std(), atol=1e-4 * sigma * 10)


def test_hum_is_a_low_sine_30_to_35_db_below(waves: torch.Tensor) -> None:
    noise = added(hum(RATE), waves)
    spectra = np.abs(np.fft.rfft(noise * np.hanning(N), n=16 * N))
    pitches = spectra.argmax(axis=1) * RATE / (16 * N)
    assert pitches.max() < 62
    assert np.ptp(pitches) > 20
    for row, wave, pitch in zip(noise, waves.double().numpy(), pitches, strict=True):
        level = 20 * np.log10(np.sqrt(np.mean(wave**2)) * np.sqrt(2) / np.abs(row).max())
        if pitch > 10:  # at least a few periods, which reach the amplitude
            assert 30 - 0.1 <= level <= 35 + 0.1


@pytest.mark.parametrize("sizes", [[(512, 128)], [(512, 128), (1024, 256), (2048, 1024)]])
def test_phase_noise_changes_each_cell_by_a_little(waves: torch.Tensor, sizes: list[tuple[int, int]]) -> None:
    error = np.linalg.norm(added(phase_noise(sizes), waves), axis=1) / waves.norm(dim=1).numpy()
    assert error.min() > 0.002
    assert error.max() < 0.02 * np.sqrt(2)  # |exp(s·(iu - v)) - 1| ≤ s·√2, with s up to 0.02
    nothing = phase_noise(sizes, 0.0, 0.0)(waves, DRAWS)
    torch.testing.assert_close(nothing, waves, rtol=1e-4, atol=1e-5)


def test_phase_noise_damps(waves: torch.Tensor) -> None:
    level = phase_noise([(512, 128)], 0.02, 0.02)(waves, DRAWS).norm(dim=1) / waves.norm(dim=1)
    np.testing.assert_allclose(level, np.exp(-0.01), rtol=2e-3)  # exp(-s·v), v of a mean of a half


def test_background_is_20_to_25_db_below_the_clip(waves: torch.Tensor) -> None:
    recordings = [torch.randn(3 * N), torch.randn(2 * N + 5), torch.sin(torch.arange(N // 2) / 3)]
    noise = added(background_noise(recordings), waves)
    found = ratio(waves, noise)
    assert 20 - 1e-3 <= found.min() < found.max() <= 25 + 1e-3
    scaled = noise / np.sqrt(np.mean(noise**2, axis=1, keepdims=True))
    chosen = set()
    for row in scaled:
        peaks = []
        for recording in recordings:
            whole = recording.double().repeat(1 if len(recording) >= N else 4).numpy()
            match = np.fft.irfft(np.fft.rfft(whole, 4 * N) * np.fft.rfft(row, 4 * N).conj())[: len(whole) - N + 1]
            peaks.append(match.max() / N / whole.std())
        assert max(peaks) > 0.98
        chosen.add(int(np.argmax(peaks)))
    assert chosen == {0, 1, 2}


def test_silence_stays_silent() -> None:
    silence = torch.zeros(CLIPS, N)
    for op in (white_noise(), even_noise(), colored_noise(-1), hum(RATE), phase_noise([(512, 128)])):
        assert not op(silence, DRAWS).any()
    assert not background_noise([torch.zeros(2 * N)])(silence, DRAWS).any()
