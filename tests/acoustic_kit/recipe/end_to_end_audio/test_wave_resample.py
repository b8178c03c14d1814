"""Resampling against a direct evaluation of its formula, and what it does to lengths and tones."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.special import i0

from acoustic_kit.recipe.end_to_end_audio.wave_resample import change_speed, resample_by, sinc_kernel

RATIOS = [Fraction(4, 5), Fraction(9, 10), Fraction(11, 10), Fraction(6, 5)]


@pytest.mark.parametrize(
    ("n", "lengths"),
    [(22050, [17640, 19845, 24255, 26460]), (114688, [91748, 103212, 126148, 137622])],
)
def test_lengths_are_the_originals(n: int, lengths: list[int]) -> None:
    assert [resample_by(torch.zeros(2, n), ratio).shape for ratio in RATIOS] == [(2, length) for length in lengths]


def test_kernels_have_the_originals_shapes() -> None:
    shapes = [tuple(sinc_kernel(ratio.numerator, ratio.denominator).shape) for ratio in RATIOS]
    assert shapes == [(4, 5, 35), (9, 10, 17), (11, 10, 15), (6, 5, 29)]


@pytest.mark.parametrize("ratio", RATIOS)
def test_every_sample_is_the_formulas(ratio: Fraction) -> None:
    out, block = ratio.numerator, ratio.denominator
    x = np.random.default_rng(0).standard_normal(20 * block + 3)
    found = resample_by(torch.from_numpy(x)[None].float(), ratio)[0].numpy()
    z, blocks = 0.95 * min(out, block), len(x) // block
    b = math.ceil(64 / z)
    expected = []
    for j in range(blocks * out):
        total = 0.0
        for i in range(blocks * block):
            k = i // block - j // out + b  # the block's place in the kernel
            if not 0 <= k <= 2 * b:
                continue
            t = (j % out) / out - (i % block) / block - (k - b)
            if abs(t) < b:
                total += x[i] * np.sinc(t * z) * i0(14 * math.sqrt(1 - (t / b) ** 2)) / i0(14) * z / block
        expected.append(total)
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("ratio", RATIOS)
def test_a_tone_keeps_its_level_and_its_place_in_time(ratio: Fraction) -> None:
    n, frequency = 4000, 0.1  # cycles a sample
    found = resample_by(torch.sin(2 * torch.pi * frequency * torch.arange(n))[None], ratio)[0]
    time = torch.arange(len(found)) / float(ratio)
    torch.testing.assert_close(found[200:-200], torch.sin(2 * torch.pi * frequency * time)[200:-200], rtol=0, atol=2e-3)


@pytest.mark.parametrize(("place", "ratio"), [(0.0, 0), (0.3, 1), (0.5, 2), (0.99, 3)])
def test_speed_pads_or_cuts_the_end(place: float, ratio: int) -> None:
    x = torch.randn(3, 1024)
    found, plain = change_speed(x, place, RATIOS), resample_by(x, RATIOS[ratio])
    n = min(1024, plain.shape[1])
    assert found.shape == x.shape
    assert torch.equal(found[:, :n], plain[:, :n])
    assert not found[:, n:].any()
