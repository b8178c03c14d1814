"""Augmentations of a batch on its device, with random numbers per clip.

An augmentation maps `(x, rng)` to a new x of the same shape: float (clips, bands, frames), or any shape whose last axis
is time.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from acoustic_kit.training.clip_rng import ClipRng

Augment = Callable[[torch.Tensor, ClipRng], torch.Tensor]

_TRIES = 400  # rectangles that are drawn; of default ones, 24 % fit 64 bands × 100 frames, 3 % × 763


def time_shift(share: float = 1.0) -> Augment:
    """Roll each clip along time, circularly, by up to ± `share` / 2 of its frames."""

    def apply(x: torch.Tensor, rng: ClipRng) -> torch.Tensor:
        frames = x.shape[-1]
        shift = ((rng.uniform("time shift") - 0.5) * share * frames).round().long()  # (clips, 1)
        return _frames_of(x, (torch.arange(frames, device=x.device) - shift) % frames)

    return apply


def time_slide(limit: float) -> Augment:
    """Shift each clip along time by up to ± `limit` of its frames, not rounded to whole frames.

    Frames are interpolated linearly; the gap is filled with the frame at the edge, as in the width shift of Keras'
    ImageDataGenerator.
    """

    def apply(x: torch.Tensor, rng: ClipRng) -> torch.Tensor:
        frames = x.shape[-1]
        shift = (2 * rng.uniform("time slide") - 1) * limit * frames  # (clips, 1)
        place = (torch.arange(frames, device=x.device) - shift).clamp(0, frames - 1)  # (clips, frames)
        before = place.long()
        after = (before + 1).clamp(max=frames - 1)
        weight = (place - before).reshape(len(x), *[1] * (x.ndim - 2), frames)
        return torch.lerp(_frames_of(x, before), _frames_of(x, after), weight.to(x.dtype))

    return apply


def time_reversal(probability: float = 0.5) -> Augment:
    """Reverse each clip in time with a probability."""

    def apply(x: torch.Tensor, rng: ClipRng) -> torch.Tensor:
        backwards = rng.uniform("time reversal") < probability
        return torch.where(backwards.reshape(-1, *[1] * (x.ndim - 1)), x.flip(-1), x)

    return apply


def random_erasing(
    probability: float = 0.5,
    area: tuple[float, float] = (0.02, 0.4),
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
    fill: tuple[float, float] = (0.0, 1.0),
) -> Augment:
    """Fill one rectangle of a clip with one value (random erasing, Zhong et al. 2020), with a probability.

    Size and place are drawn again until the rectangle is inside the clip; after `_TRIES` attempts nothing is erased.

    Parameters
    ----------
    area : smallest and largest fraction of the clip's cells, before sides are rounded down
    aspect : smallest and largest ratio of bands to frames
    fill : smallest and largest value

    """

    def apply(x: torch.Tensor, rng: ClipRng) -> torch.Tensor:
        bands, frames = x.shape[-2:]
        cells = _between(rng.uniform("erased area", _TRIES), area) * bands * frames
        ratio = _between(rng.uniform("erased aspect", _TRIES), aspect)
        height, width = (cells * ratio).sqrt().floor(), (cells / ratio).sqrt().floor()
        top = (rng.uniform("erased band", _TRIES) * bands).floor()
        left = (rng.uniform("erased frame", _TRIES) * frames).floor()
        fits = (top + height <= bands) & (left + width <= frames)
        chosen = fits.float().argmax(dim=1, keepdim=True)  # the first that fits
        erased = _stripe(bands, top, height, chosen)[:, :, None] & _stripe(frames, left, width, chosen)[:, None, :]
        erased &= ((rng.uniform("is erased") < probability) & fits.any(dim=1, keepdim=True))[:, :, None]
        value = _between(rng.uniform("erased value"), fill).to(x.dtype)
        shape = (len(x), *[1] * (x.ndim - 3))
        return torch.where(erased.reshape(*shape, bands, frames), value.reshape(*shape, 1, 1), x)

    return apply


def spec_augment(
    max_bands: int, max_frames: int, *, n_band_masks: int = 1, n_frame_masks: int = 1, fill: float | None = None
) -> Augment:
    """Mask bands and frames (SpecAugment, Park et al. 2019), with a width and a place per mask and clip.

    Parameters
    ----------
    max_bands, max_frames : widths are drawn from 0 to this, exclusive
    fill : value of masked cells; None is the clip's mean

    """

    def apply(x: torch.Tensor, rng: ClipRng) -> torch.Tensor:
        masked = _stripes(x.shape[-2], max_bands, rng, "band mask", n_band_masks)[:, :, None]
        masked = masked | _stripes(x.shape[-1], max_frames, rng, "frame mask", n_frame_masks)[:, None, :]
        value = x.mean(dim=(-2, -1), keepdim=True) if fill is None else torch.full_like(x[:, :1, :1], fill)
        return torch.where(masked, value, x)

    return apply


def _stripes(size: int, max_width: int, rng: ClipRng, purpose: str, n: int) -> torch.Tensor:
    """Draw n stripes per clip, of whole widths below `max_width`, and return their union: bool (clips, size)."""
    numbers = rng.uniform(purpose, 2 * n)
    width = (numbers[:, :n] * min(max_width, size)).floor()
    first = (numbers[:, n:] * (size - width + 1)).floor()
    place = torch.arange(size, device=numbers.device)
    return ((place >= first[..., None]) & (place < (first + width)[..., None])).any(dim=1)


def _stripe(size: int, first: torch.Tensor, width: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Return the chosen one of several stripes per clip: bool (clips, size)."""
    place, start = torch.arange(size, device=first.device), first.gather(1, chosen)
    return (place >= start) & (place < start + width.gather(1, chosen))


def _between(uniform: torch.Tensor, bounds: tuple[float, float]) -> torch.Tensor:
    """Scale numbers in [0, 1) to the range between two bounds."""
    return bounds[0] + (bounds[1] - bounds[0]) * uniform


def _frames_of(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Return the frames of x at the indices of each clip, int64 (clips, frames)."""
    return x.gather(-1, index.reshape(len(x), *[1] * (x.ndim - 2), -1).expand(*x.shape[:-1], -1))
