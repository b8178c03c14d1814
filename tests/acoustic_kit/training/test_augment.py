"""Augmentations: what they change, and what they leave."""

import numpy as np
import pytest
import scipy.ndimage
import torch

from acoustic_kit.training.augment import random_erasing, spec_augment, time_reversal, time_shift, time_slide
from acoustic_kit.training.clip_rng import ClipRng, digests

CPU = torch.device("cpu")


def rng(n: int, epoch: int = 0) -> ClipRng:
    return ClipRng(f"key/{epoch}", digests([str(i) for i in range(n)]), CPU)


def test_a_shift_rolls_each_clip_by_its_own_number() -> None:
    x = torch.arange(200 * 2 * 50.0).reshape(200, 2, 50)
    shifted = time_shift()(x, rng(200))
    shifts = set()
    for before, after in zip(x.numpy(), shifted.numpy(), strict=True):
        shift = int(np.flatnonzero(after[0] == before[0, 0])[0])
        np.testing.assert_array_equal(after, np.roll(before, shift, axis=-1))
        shifts.add(shift)
    assert len(shifts) > 40


def test_a_partial_shift_stays_within_its_share() -> None:
    x = torch.arange(100.0).expand(300, 1, 1, 100)
    first = time_shift(0.2)(x, rng(300))[:, 0, 0, 0]
    shift = (-first + 50) % 100 - 50
    assert -10 <= shift.min() <= -8
    assert 8 <= shift.max() <= 10


def test_masks_have_the_widths_that_were_asked_for() -> None:
    x = torch.ones(500, 20, 40)
    masked = spec_augment(5, 10, fill=0.0)(x, rng(500)) == 0
    bands, frames = masked.all(dim=2).sum(dim=1), masked.all(dim=1).sum(dim=1)
    assert set(bands.tolist()) == set(range(5))
    assert set(frames.tolist()) == set(range(10))
    assert bool((masked == masked.all(dim=2)[:, :, None] | masked.all(dim=1)[:, None, :]).all())
    starts = masked.all(dim=2).float().argmax(dim=1)[bands == 4]
    assert set(starts.tolist()) == set(range(17))  # the mask may lie anywhere


def test_several_masks_and_the_mean_as_filling() -> None:
    x = torch.randn(100, 20, 40)
    masked = spec_augment(4, 4, n_band_masks=3, n_frame_masks=2)(x, rng(100))
    changed = masked != x
    assert changed.all(dim=2).sum(dim=1).max() > 3
    means = x.mean(dim=(1, 2), keepdim=True).expand_as(x)
    torch.testing.assert_close(masked[changed], means[changed])


def test_another_epoch_gives_another_augmentation() -> None:
    x = torch.randn(4, 20, 40)
    augment = spec_augment(8, 8)
    assert torch.equal(augment(x, rng(4)), augment(x, rng(4)))
    assert not torch.equal(augment(x, rng(4)), augment(x, rng(4, epoch=1)))


def test_time_slide_matches_scipy_shift_with_edge_padding() -> None:
    x = torch.randn(40, 2, 3, 50)
    moved = time_slide(0.6)(x, rng(40)).numpy()
    shifts = (2 * rng(40).uniform64("time slide")[:, 0] - 1) * 0.6 * 50
    for before, after, shift in zip(x.numpy(), moved, shifts, strict=True):
        expected = scipy.ndimage.shift(before, (0, 0, shift), order=1, mode="nearest")
        np.testing.assert_allclose(after, expected, atol=1e-4)


def test_time_slide_is_fractional_and_within_the_limit() -> None:
    ramp = torch.arange(1000.0).expand(500, 1, 1000)
    middle = time_slide(0.3)(ramp, rng(500))[:, 0, 500]
    shift = 500 - middle
    assert -300 <= shift.min() < -290
    assert 290 < shift.max() <= 300
    assert abs(shift.mean()) < 30
    assert (shift % 1).std() > 0.2
    assert torch.equal(time_slide(0)(ramp, rng(500)), ramp)
    one = torch.randn(4, 3, 1)
    assert torch.equal(time_slide(0.6)(one, rng(4)), one)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_so_many_clips_are_played_backwards(share: float) -> None:
    x = torch.randn(400, 3, 20)
    found = time_reversal(share)(x, rng(400))
    same, backwards = ((found == y).all(dim=(1, 2)) for y in (x, x.flip(-1)))
    assert bool((same ^ backwards).all())
    assert backwards.float().mean() == pytest.approx(share, abs=0.07 * (0 < share < 1))


def test_erased_rectangle_has_requested_size_and_value() -> None:
    x = torch.full((2000, 1, 64, 100), 5.0)
    erased = (random_erasing(fill=(-2.0, 3.0))(x, rng(2000)) != 5)[:, 0]
    touched = erased.any(dim=(1, 2))
    assert touched.float().mean() == pytest.approx(0.5, abs=0.05)
    rows, columns = erased.any(dim=2), erased.any(dim=1)
    assert torch.equal(erased, rows[:, :, None] & columns[:, None, :])  # one rectangle
    height, width = rows.sum(dim=1)[touched].float(), columns.sum(dim=1)[touched].float()
    for lines, size in ((rows, height), (columns, width)):
        edges = lines[touched].int().diff(dim=1, prepend=torch.zeros(int(touched.sum()), 1).int()).clamp(min=0)
        assert bool((edges.sum(dim=1) == 1).all())  # without a gap
        assert size.min() >= 1
    area = height * width / 6400
    assert 0.01 <= area.min() < 0.03
    assert 0.35 < area.max() <= 0.4
    assert bool(((height + 1) / width >= 0.3).all())
    assert bool((height / (width + 1) <= 1 / 0.3).all())
    assert set((rows.int().argmax(dim=1)[touched] * 4 // 64).tolist()) == {0, 1, 2, 3}


def test_an_erased_rectangle_has_one_value_and_all_values_come() -> None:
    x = torch.full((500, 16, 16), 9.0)
    found = random_erasing(1.0, fill=(-2.0, 3.0))(x, rng(500))
    values = torch.tensor([clip[clip != 9].unique().item() for clip in found])  # one a clip
    assert -2 <= values.min() < -1.9
    assert 2.9 < values.max() < 3


def test_nothing_is_erased_where_nothing_fits() -> None:
    x = torch.randn(8, 2, 400)
    assert torch.equal(random_erasing(1.0, area=(0.9, 1.0), aspect=(3.0, 3.3))(x, rng(8)), x)
