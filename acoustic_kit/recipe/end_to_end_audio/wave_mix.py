"""Mixtures of waves, with the weights of their labels (EAT, Gazneli et al. 2022, arXiv:2204.11479).

Each function takes a batch of waves, float32 (clips, n), the partner of each in the batch, int64 (clips,), and the
clips' random numbers. It returns the mixed waves and the weight λ of each clip's own label, float32 (clips, 1).
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from acoustic_kit.recipe.end_to_end_audio.wave_augment import between
from acoustic_kit.training.clip_rng import ClipRng

Mixed = tuple[torch.Tensor, torch.Tensor]
Mix = Callable[[torch.Tensor, torch.Tensor, ClipRng, int, int], Mixed]  # the last two: window and hop of a spectrogram


def mixup(x: torch.Tensor, partner: torch.Tensor, rng: ClipRng, _window: int = 0, _hop: int = 0) -> Mixed:
    """Add waves at equal energy, weighted by their loudness (between-class learning, Tokozume et al. 2018).

    l is drawn from 0.1 to 1, G are the levels in dB, p = 1 / (1 + 10^((G₁-G₂)/20)·(1-l)/l), and the sum is
    (p·x₁ + (1-p)·x₂) / √(p² + (1-p)²). λ is p.
    """
    share = between(rng, "mixup", 0.1, 1.0)
    power = x.square().mean(dim=1, keepdim=True).clamp(min=1e-5)
    p = 1 / (1 + (power / power[partner]).sqrt() * (1 - share) / share)
    return (p * x + (1 - p) * x[partner]) / (p.square() + (1 - p).square()).sqrt(), p


def timemix(x: torch.Tensor, partner: torch.Tensor, rng: ClipRng, _window: int = 0, _hop: int = 0) -> Mixed:
    """Replace the start or the end, up to half of the wave, by the partner's. λ is the fraction that remains."""
    taken, share = _edge(x.shape[1], rng, "timemix")
    return torch.where(taken, x[partner], x), share


def freqmix(x: torch.Tensor, partner: torch.Tensor, rng: ClipRng, window: int, hop: int) -> Mixed:
    """Replace the lowest or highest frequencies, up to half, by the partner's. λ is the fraction that remains.

    The spectrogram has a Hann window; `hop` must divide the length.
    """
    hann = torch.hann_window(window, device=x.device)
    cells = torch.stft(x, window, hop, window=hann, return_complex=True)
    taken, share = _edge(cells.shape[1], rng, "freqmix")
    mixed = torch.where(taken[:, :, None], cells[partner], cells)
    return torch.istft(mixed, window, hop, window=hann, length=x.shape[1]), share


def phmix(x: torch.Tensor, partner: torch.Tensor, rng: ClipRng, window: int, hop: int) -> Mixed:
    """Mix the phases, taken within ±π, to l·own + (1-l)·partner's, l from 0 to 1; keep magnitudes. λ is (1+l)/2.

    The spectrogram has a rectangular window; `hop` must divide the length.
    """
    share = rng.uniform("phmix")
    rectangle = torch.ones(window, device=x.device)
    cells = torch.stft(x, window, hop, window=rectangle, return_complex=True)
    phase = cells.angle()
    mixed = torch.polar(cells.abs(), torch.lerp(phase[partner], phase, share[:, :, None]))
    return torch.istft(mixed, window, hop, window=rectangle, length=x.shape[1]), 0.5 + 0.5 * share


MIXES: dict[str, Mix] = {"mixup": mixup, "timemix": timemix, "freqmix": freqmix, "phmix": phmix}


def union_targets(targets: torch.Tensor, other: torch.Tensor, share: torch.Tensor, until: float = 0.9) -> torch.Tensor:
    """Return the labels of both clips, float32 (clips, classes); the partner's only if λ (clips, 1) < `until`."""
    return (targets + other * (share < until)).clamp(max=1)


def _edge(n: int, rng: ClipRng, purpose: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw λ, from 0.5 to 1, and return it with a mask, bool (clips, n), of int(n·(1-λ)) places at one end."""
    share, last = 0.5 + 0.5 * rng.uniform(purpose), rng.uniform(f"{purpose} end") < 0.5
    taken, place = (n * (1 - share)).floor(), torch.arange(n, device=share.device)
    return torch.where(last, place >= n - taken, place < taken), share
