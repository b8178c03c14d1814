"""One mask of each kind for the whole batch."""

import numpy as np
import torch

from acoustic_kit.nn import BatchMasks


def stripe(masked: torch.Tensor) -> tuple[int, int]:
    """First place and width of what is masked; fails where that is not one stripe."""
    places = torch.nonzero(masked).flatten()
    assert len(places) == 0 or len(places) == places[-1] - places[0] + 1
    return (int(places[0]), len(places)) if len(places) else (0, 0)


def test_it_does_nothing_outside_training() -> None:
    x = torch.randn(2, 1, 16, 30)
    assert BatchMasks(8, 8).eval()(x) is x


def test_all_clips_and_channels_lose_the_same_stripes() -> None:
    torch.manual_seed(0)
    layer, x = BatchMasks(9, 12), torch.ones(4, 2, 20, 40)
    widths = []
    for _ in range(50):
        masked = layer(x) == 0
        assert (masked == masked[:1, :1]).all()
        bands, frames = masked[0, 0].all(dim=1), masked[0, 0].all(dim=0)
        assert torch.equal(masked[0, 0], bands[:, None] | frames)
        widths.append((stripe(bands)[1], stripe(frames)[1]))
    assert {width for width, _ in widths} <= set(range(9))
    assert {width for _, width in widths} <= set(range(12))
    assert len(set(widths)) > 25  # drawn again in each pass


def test_widths_and_places_follow_torchaudios_law() -> None:
    torch.manual_seed(0)
    layer, x = BatchMasks(20, 0), torch.ones(1, 1, 64, 1)
    found = np.array([stripe((layer(x) == 0)[0, 0, :, 0]) for _ in range(4000)])
    place, width = found[found[:, 1] > 0].T
    np.testing.assert_allclose(np.bincount(found[:, 1], minlength=20) / 4000, 1 / 20, atol=0.015)
    np.testing.assert_allclose(place.mean(), (64 - (width + 0.5)).mean() / 2 - 0.5, atol=0.9)
    assert (place + width).max() <= 64
    assert place.min() == 0


def test_masks_wider_than_the_picture_fit_into_it() -> None:
    torch.manual_seed(0)
    for _ in range(20):
        assert (BatchMasks(500, 500)(torch.ones(1, 1, 3, 5)) == 0).sum() <= 15


def test_torchs_seed_decides() -> None:
    layer, x = BatchMasks(8, 8), torch.randn(2, 1, 16, 30)
    torch.manual_seed(3)
    first = layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first)


def test_masked_cells_get_no_gradient() -> None:
    torch.manual_seed(1)
    x = torch.randn(2, 1, 16, 30, requires_grad=True)
    out = BatchMasks(8, 8)(x)
    out.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, (out != 0).float())
    assert (out == 0).any()
