"""Predictions by the model of one fold, checked against the contract of recipes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from acoustic_kit.data.clips import Clips, Fold, slices_by_file
from acoustic_kit.errors import RecipeError
from acoustic_kit.recipe.recipe import Recipe
from acoustic_kit.recipe.settings import Settings

TOLERANCE = 1e-3  # of a probability, and of the sum of a row


def infer(
    recipe: Recipe,
    settings: Settings,
    model: Any,
    clips: Clips,
    frequencies: np.ndarray,
    *,
    at_once: int | None = None,
    on_clips: Callable[[int], None] = lambda _: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the predictions of clips by a model of a recipe; the other parameters are those of `in_parts`."""
    return in_parts(
        lambda part: recipe.predict(model, part, settings),
        recipe.name,
        clips,
        frequencies,
        at_once=at_once,
        on_clips=on_clips,
    )


def in_parts(
    predict: Callable[[Clips], np.ndarray],
    name: str,
    clips: Clips,
    frequencies: np.ndarray,
    *,
    at_once: int | None = None,
    on_clips: Callable[[int], None] = lambda _: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return predictions of clips; a clip that lacks a feature gets the class frequencies.

    Parameters
    ----------
    predict : returns the probabilities of clips that have all features: float (clips, classes)
    name : of the recipe, for messages
    frequencies : of the classes among the training clips: float64 (classes,)
    at_once : clips that `predict` gets at once, those of one file together if possible; None for all
    on_clips : called with the number of clips after each part

    Returns
    -------
    float64 (clips, classes), where the rows of a single-label task sum to one; and bool (clips,): those that have all
    features

    Raises
    ------
    RecipeError : `predict` returns another shape, values outside of 0 to 1, or rows that do not sum to one

    """
    held = has_features(clips)
    probabilities = np.tile(frequencies, (len(clips), 1))
    for place in slices_by_file(clips.rows["path"].to_list(), at_once or max(1, len(clips))):
        part = np.zeros(len(clips), dtype=bool)
        part[place] = held[place]
        if part.any():
            probabilities[part] = _checked(predict, name, replace(clips, rows=clips.rows.filter(part)))
        on_clips(place.stop - place.start)
    return probabilities, held


def has_features(clips: Clips) -> np.ndarray:
    """Return which clips have all features: bool (clips,)."""
    return np.array([all(id in feature for feature in clips.features.values()) for id in clips.ids], dtype=bool)


def class_frequencies(fold: Fold) -> np.ndarray:
    """Return the class frequencies of the training clips, without pseudo-labeled ones: float64 (classes,)."""
    labels = fold.train.labels[~fold.train.is_pseudo]
    return labels.mean(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=fold.n_classes) / len(labels)


def _checked(predict: Callable[[Clips], np.ndarray], name: str, clips: Clips) -> np.ndarray:
    shape = len(clips), len(clips.classes)
    found: np.ndarray = predict(clips).astype(np.float64)
    if found.shape != shape:
        raise RecipeError(f"{name}: predict returned shape {found.shape} for {shape[0]} clips and {shape[1]} classes.")
    if not np.isfinite(found).all() or (found < 0).any() or (found > 1 + TOLERANCE).any():
        raise RecipeError(f"{name}: predict returned values that are not between 0 and 1.")
    found = np.minimum(found, 1)
    if clips.task == "multi":
        return found
    total = found.sum(axis=1, keepdims=True)
    if not np.allclose(total, 1, atol=TOLERANCE):
        raise RecipeError(
            f"{name}: predict must return rows that sum to one; they sum to {total.min():.3g}–{total.max():.3g}."
        )
    normalized: np.ndarray = found / total
    return normalized
