"""Attentive statistics pooling against a plain loop, and the head that stands on it."""

import numpy as np
import pytest
import torch

from acoustic_kit.nn import AttentiveHead, AttentiveStatisticsPooling


def by_hand(maps: np.ndarray, w1: np.ndarray, b1: np.ndarray, w2: np.ndarray, b2: np.ndarray) -> np.ndarray:
    """One clip, (width, bands, frames) → (2 · width,)."""
    x = maps.mean(axis=1)
    scores = np.stack([w2 @ np.tanh(w1 @ frame + b1) + b2 for frame in x.T], axis=1)  # (width, frames)
    means, deviations = [], []
    for channel, score in zip(x, scores, strict=True):
        weights = np.exp(score) / np.exp(score).sum()
        mean = sum(w * value for w, value in zip(weights, channel, strict=True))
        variance = sum(w * (value - mean) ** 2 for w, value in zip(weights, channel, strict=True))
        means.append(mean)
        deviations.append(np.sqrt(variance + 1e-6))
    return np.array(means + deviations)


def test_it_is_the_plain_loop() -> None:
    torch.manual_seed(0)
    layer, maps = AttentiveStatisticsPooling(6, hidden=5).double(), torch.randn(3, 6, 2, 7, dtype=torch.float64)
    w1, b1, w2, b2 = (p.detach().numpy().squeeze(-1) if p.ndim == 3 else p.detach().numpy() for p in layer.parameters())
    for clip, found in zip(maps.numpy(), layer(maps).detach().numpy(), strict=True):
        np.testing.assert_allclose(found, by_hand(clip, w1, b1, w2, b2), atol=1e-12)


def test_a_constant_sound_has_its_value_as_mean_and_no_deviation() -> None:
    maps = torch.randn(2, 6, 1, 1).expand(-1, -1, 3, 10)
    mean, deviation = AttentiveStatisticsPooling(6)(maps).chunk(2, dim=1)
    torch.testing.assert_close(mean, maps[:, :, 0, 0])
    torch.testing.assert_close(deviation, torch.full((2, 6), 1e-3))


def test_the_order_of_frames_does_not_matter() -> None:
    layer, maps = AttentiveStatisticsPooling(6), torch.randn(2, 6, 3, 10)
    torch.testing.assert_close(layer(maps), layer(maps[..., torch.randperm(10)]))


def test_the_heads_dropout_spares_the_condition() -> None:
    head = AttentiveHead(4, 3, condition_width=2, dropout=0.999999)
    maps, condition = torch.randn(8, 4, 2, 5), torch.randn(8, 2)
    expected = condition @ head.output.weight[:, 8:].T + head.output.bias
    torch.testing.assert_close(head(maps, condition), expected)


@pytest.mark.parametrize("condition_width", [0, 2])
def test_the_head_sees_the_condition_beside_the_pooled_map(condition_width: int) -> None:
    head = AttentiveHead(4, 3, condition_width=condition_width).eval()
    maps, condition = torch.randn(8, 4, 2, 5), torch.randn(8, condition_width)
    pooled = head.norm(head.pooling(maps))
    expected = torch.nn.functional.linear(pooled, head.output.weight[:, :8], head.output.bias)
    expected = expected + condition @ head.output.weight[:, 8:].T
    torch.testing.assert_close(head(maps, condition if condition_width else None), expected)
