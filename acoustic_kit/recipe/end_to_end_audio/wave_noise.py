"""Noise added to a wave, at a signal-to-noise ratio (EAT, Gazneli et al. 2022, arXiv:2204.11479).

Each is an `Op`, which changes all waves that it is called with, float32 (clips, n), by random numbers per clip.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from acoustic_kit.recipe.end_to_end_audio.clip_noise import normal_noise, uniform_noise
from acoustic_kit.recipe.end_to_end_audio.random_apply import Op
from acoustic_kit.recipe.end_to_end_audio.wave_augment import between
from acoustic_kit.training.clip_rng import ClipRng

COLORS = {"pink": -0.5, "red": -1.0, "blue": 0.5, "violet": 1.0}  # exponent of the frequency, for amplitudes


def white_noise(snr: float = 30.0) -> Op:
    """Add normal noise; `snr` in dB."""
    return lambda x, rng: x + _rms(x, snr) * normal_noise(rng, "white noise", x.shape[1])


def even_noise(snr: float = 30.0) -> Op:
    """Add uniformly distributed noise; `snr` in dB."""
    return lambda x, rng: x + _rms(x, snr) * math.sqrt(12) * (uniform_noise(rng, "even noise", x.shape[1]) - 0.5)


def colored_noise(exponent: float, snr: float = 30.0) -> Op:
    """Add white noise whose k-th frequency, from k = 1 at 0 Hz, is scaled by k^exponent (see `COLORS`).

    Without its mean it has the `snr`, in dB. The mean is doubled: the original added it instead of subtracting it.
    """

    def apply(x: torch.Tensor, rng: ClipRng) -> torch.Tensor:
        n = x.shape[1]
        spectrum = torch.fft.rfft(normal_noise(rng, "coloured noise", n))
        spectrum *= torch.arange(1.0, spectrum.shape[1] + 1, device=x.device) ** exponent
        noise = torch.fft.irfft(spectrum, n)
        deviation, mean = torch.std_mean(noise, dim=1, keepdim=True, correction=0)
        added: torch.Tensor = _rms(x, snr) / deviation * (noise + mean)
        return x + added

    return apply


def hum(sample_rate: int, low: float = 30.0, high: float = 35.0) -> Op:
    """Add a sine of 50·U(0, 1) + 3·N(0, 1) Hz, with a phase of up to half a turn, at a ratio of `low` to `high` dB."""

    def apply(x: torch.Tensor, rng: ClipRng) -> torch.Tensor:
        phase = math.pi * rng.uniform("hum phase")
        pitch = 50 * rng.uniform("hum pitch") + 3 * normal_noise(rng, "hum pitch", 1)
        time = torch.arange(x.shape[1], device=x.device) / sample_rate
        amplitude = math.sqrt(2) * _rms(x, between(rng, "hum ratio", low, high))
        return x + amplitude * torch.sin(2 * math.pi * pitch * time + phase)

    return apply


def background_noise(recordings: Sequence[torch.Tensor], low: float = 20.0, high: float = 25.0) -> Op:
    """Add an excerpt from anywhere in one of the recordings, float32 (m,), at a ratio of `low` to `high` dB.

    A recording that is too short is repeated. A silent excerpt adds nothing.
    """
    joined = torch.cat(list(recordings))
    lengths = torch.tensor([len(recording) for recording in recordings])
    starts = lengths.cumsum(0) - lengths

    def apply(x: torch.Tensor, rng: ClipRng) -> torch.Tensor:
        which, place = replace(rng, device=torch.device("cpu")).uniform("background", 2).T
        chosen = (which * len(lengths)).long()
        length, slack = lengths[chosen], (lengths[chosen] - x.shape[1] + 1).clamp(min=1)
        first = (place * slack).long()[:, None] + torch.arange(x.shape[1])
        noise = joined[starts[chosen][:, None] + first % length[:, None]].to(x.device, non_blocking=True)
        level = noise.square().mean(dim=1, keepdim=True).sqrt().clamp(min=1e-12)
        return x + _rms(x, between(rng, "background ratio", low, high)) / level * noise

    return apply


def phase_noise(sizes: Sequence[tuple[int, int]], low: float = 0.01, high: float = 0.02) -> Op:
    """Multiply each cell of the spectrogram by exp(i·s·R), with s between `low` and `high` per clip.

    R is complex, both of its parts uniform in [0, 1): a phase of up to s, and a factor of exp(-s) or more. `sizes` are
    windows and hops in samples, of which one pair is drawn per clip; the window is rectangular.
    """

    def apply(x: torch.Tensor, rng: ClipRng) -> torch.Tensor:
        choice = (rng.uniform64("phase noise size")[:, 0] * len(sizes)).astype(int)
        out = torch.empty_like(x)
        for number, (n_fft, hop) in enumerate(sizes):
            chosen = (choice == number).nonzero()[0]
            if len(chosen):
                rows = torch.from_numpy(chosen).to(x.device, non_blocking=True)
                own = ClipRng(rng.key, rng.clips[chosen], rng.device)
                out.index_copy_(0, rows, _jittered(x[rows], own, n_fft, hop, between(own, "phase noise", low, high)))
        return out

    return apply


def _jittered(x: torch.Tensor, rng: ClipRng, n_fft: int, hop: int, strength: torch.Tensor) -> torch.Tensor:
    window = torch.ones(n_fft, device=x.device)
    spectrum = torch.stft(x, n_fft, hop, window=window, return_complex=True)
    phase, damping = uniform_noise(rng, "phase noise cells", 2 * spectrum[0].numel()).chunk(2, dim=1)
    factor = torch.polar(torch.exp(-strength * damping), strength * phase)
    return torch.istft(spectrum * factor.reshape(spectrum.shape), n_fft, hop, window=window, length=x.shape[1])


def _rms(x: torch.Tensor, snr: float | torch.Tensor) -> torch.Tensor:
    """Return the root mean square of noise that is `snr` dB below each wave: (clips, 1)."""
    return x.square().mean(dim=1, keepdim=True).sqrt() * 10 ** (-snr / 20)
