"""How often training draws clips: by weights of `Batches.weights`, or by the confidence of pseudo-labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from acoustic_kit.data.clips import Clips


def class_balanced(clips: Clips) -> np.ndarray:
    """Return weights with which all classes are drawn equally often: float64 (clips,).

    >>> Batches("wave", s.batch_size, weights=class_balanced)

    A clip's weight is the sum over its classes of its target, divided by the sum of that class's targets. Clips without
    a class, such as windows of background, count as one more class; unknown targets count as zero.
    """
    targets = np.nan_to_num(clips.targets.astype(np.float64))
    targets = np.column_stack([targets, targets.max(axis=1) == 0])
    weights: np.ndarray = targets @ (1 / np.maximum(targets.sum(axis=0), 1e-12))
    return weights


def draw_weights(clips: Clips, weights: Callable[[Clips], np.ndarray]) -> np.ndarray | None:
    """Return weights of `Batches.weights`, times the draws of pseudo-labeled clips; None if no clip has a label."""
    if not any(clips.rows["label"].list.len() > 0):
        return None
    found, draws = np.asarray(weights(clips), dtype=np.float64), expected_draws(clips)
    return found if draws is None else found * draws


def expected_draws(clips: Clips) -> np.ndarray | None:
    """Return how often an epoch draws each clip on average, float64 (clips,); None without pseudo-labels.

    A pseudo-labeled clip is drawn as often as its weight says, any other clip once.
    """
    if not clips.is_pseudo.any():
        return None
    return np.where(clips.is_pseudo, clips.weights, 1.0).astype(np.float64)


def systematic_draws(order: np.ndarray, draws: np.ndarray, n: int, place: float) -> np.ndarray:
    """Return `n` clips in `order`, each as often as `draws` says, rounded up or down at random: int64 (n,).

    Parameters
    ----------
    order : int64 (clips,), a random order of all clips
    draws : float64 (clips,), how often each clip is drawn on average
    n : the sum of `draws`, rounded up
    place : random number in [0, 1)

    """
    reached = np.cumsum(draws[order])
    places = (np.arange(n) + place) * (reached[-1] / n)
    found: np.ndarray = order[np.searchsorted(reached, places, side="right").clip(max=len(order) - 1)]
    return found
