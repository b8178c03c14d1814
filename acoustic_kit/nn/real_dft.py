"""Filtered spectra in real matrix products, for graphs in ONNX: it has no complex numbers, and its DFT is slow.

A DFT of N = N1 · N2 samples is N2 DFTs of N1, then N1 of N2, with n = N2 n1 + n2 and k = k1 + N1 k2. Both are matrix
products. The second has another matrix for each k1, which includes the twiddle factors. Since samples are real, k1 up
to N1 / 2 has all bins, in an order of its own, which is that of the columns of the filters.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

SMALLEST_PIECE = 16  # samples; ONNX Runtime copies many small pieces slowly


def frames_of(waves: Tensor, n: int, hop_length: int) -> Tensor:
    """Return the frames of waves (clips, samples), the first at 0: (clips, frames, n).

    Pieces of frames are gathered, as ONNX's own form of `unfold` gathers each sample.
    """
    frames = 1 + (waves.shape[1] - n) // hop_length
    piece = math.gcd(n, hop_length)
    if piece < SMALLEST_PIECE:
        piece = hop_length
    each, step = -(-n // piece), hop_length // piece
    pieces = (frames - 1) * step + each
    whole = pad(waves, (0, max(0, pieces * piece - waves.shape[1])))[:, : pieces * piece]
    index = np.arange(frames)[:, None] * step + np.arange(each)
    rows = whole.reshape(-1, pieces, piece).index_select(1, torch.from_numpy(index.ravel()))
    return rows.reshape(-1, frames, each * piece)[:, :, :n]


def filtered_spectrum(frames: Tensor, filters: np.ndarray, *, magnitude: bool = False) -> Tensor:
    """Return filters times |X|², or |X|, of windowed frames.

    Parameters
    ----------
    frames : float32 or float64 (clips, frames, n), n even
    filters : float32 (bands, 1 + n // 2)

    Returns
    -------
    float32 (clips, bands, frames)

    """
    n1, n2 = _factors(frames.shape[2])
    columns, weights = _columns(filters, n1, n2)
    first, second = (torch.from_numpy(matrix).to(frames.dtype) for matrix in _matrices(n1, n2, columns))
    split = first @ frames.reshape(-1, n1, n2)  # (clips · frames, k1 and part, n2)
    groups = split.reshape(-1, second.shape[1], 2 * n2).transpose(0, 1).reshape(second.shape[1], -1, 2 * n2)
    real, imaginary = groups @ second[0], groups @ second[1]  # (k1, clips · frames, k2)
    power = (real * real + imaginary * imaginary).float()
    bins = power.sqrt() if magnitude else power
    bands = bins.transpose(0, 1).reshape(-1, frames.shape[1], len(weights)) @ torch.from_numpy(weights)
    return bands.transpose(1, 2)


def _factors(n: int) -> tuple[int, int]:
    """Return N1 and N2 of the fewest multiplications: about 2 n N1 + 4 n N2."""
    pairs = [(n // n2, n2) for n2 in range(1, n + 1) if n % n2 == 0]
    return min(pairs, key=lambda pair: pair[0] + 2 * pair[1])


def _columns(filters: np.ndarray, n1: int, n2: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the k2 that any filter needs, and the filters in the order of k1 and k2: float32 (k1 · k2, bands)."""
    n = n1 * n2
    k = np.arange(n1 // 2 + 1)[:, None] + n1 * np.arange(n2)
    bins = np.minimum(k, n - k)
    weights = np.zeros((*k.shape, len(filters)), np.float32)
    found, first = np.unique(bins, return_index=True)  # some occur twice
    weights.reshape(-1, len(filters))[first] = filters.T[found]
    columns = np.flatnonzero(weights.any(axis=(0, 2)))
    return columns, np.ascontiguousarray(weights[:, columns].reshape(-1, len(filters)))


def _matrices(n1: int, n2: int, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the matrices of both stages.

    Returns
    -------
    float64 (k1 · 2, n1): the real and the imaginary part of each k1
    float64 (2, k1, 2 · n2, k2): from both parts of all n2 to the real part, and to the imaginary

    """
    k1 = np.arange(n1 // 2 + 1)
    angle = 2 * np.pi / n1 * (np.outer(k1, np.arange(n1)) % n1)
    first = np.stack((np.cos(angle), -np.sin(angle)), axis=1).reshape(-1, n1)
    k = k1[:, None] + n1 * columns
    angle = 2 * np.pi / (n1 * n2) * (np.arange(n2)[:, None] * k[:, None] % (n1 * n2))  # (k1, n2, k2)
    cosine, sine = np.cos(angle), np.sin(angle)
    second = np.stack((np.concatenate((cosine, sine), axis=1), np.concatenate((-sine, cosine), axis=1)))
    return first, second
