"""Synthetic predictions with realistic correlations between models, for tests and benchmarks.

They resemble 96 fold models of twelve families on UrbanSound8K's folds 9 and 10: single models differ by chance more
than by family, the mean of all models is better than any selection, clips of one recording share their errors, and all
families share their confusions between classes, which stacking can correct. `benchmarks/blend.py` prints both side by
side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

CLIPS_PER_CLASS = (200, 65, 200, 200, 200, 182, 63, 178, 165, 200)  # 1653, as in the folds 9 and 10


@dataclass(frozen=True)
class Noise:
    """Standard deviations of the noise added to a model's logits, by what shares a draw."""

    recording: float = 1.8  # shared by all models: a recording is hard or misleading
    clip: float = 1.4
    family_recording: float = 0.7
    family_clip: float = 0.8
    model_recording: float = 0.5
    model_clip: float = 1.0


def make_predictions(
    seed: int,
    *,
    families: int = 12,
    folds: int = 8,
    clips_per_class: tuple[int, ...] = CLIPS_PER_CLASS,
    recordings: int = 250,
    noise: Noise = Noise(),
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return probabilities float32 (families × folds, clips, classes), ordered by family; targets; recordings."""
    import numpy as np

    rng = np.random.default_rng(seed)
    classes = len(clips_per_class)
    targets, recording = _clips(rng, clips_per_class, recordings)
    n = len(targets)
    confusion = 0.85 * _confusions(rng, classes)
    normal = rng.standard_normal
    common = noise.recording * normal((recordings, classes))[recording] + noise.clip * normal((n, classes))
    probabilities = np.empty((families * folds, n, classes), np.float32)
    for family in range(families):
        skill = 7.5 + 0.05 * normal() + 0.3 * normal(classes)
        habits = confusion + 0.3 * _confusions(rng, classes)
        own = noise.family_recording * normal((recordings, classes))[recording]
        own += noise.family_clip * normal((n, classes))
        for fold in range(folds):
            logits = common + own + (habits + 0.1 * normal((classes, classes)))[targets]
            logits[np.arange(n), targets] += (skill + 0.1 * normal() + 0.2 * normal(classes))[targets]
            logits += noise.model_recording * normal((recordings, classes))[recording]
            logits += noise.model_clip * normal((n, classes))
            logits *= 0.9
            p = np.exp(logits - logits.max(axis=1, keepdims=True))
            probabilities[family * folds + fold] = p / p.sum(axis=1, keepdims=True)
    return probabilities, targets, recording


def _clips(
    rng: np.random.Generator, clips_per_class: tuple[int, ...], recordings: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the class and the recording of each clip; a recording has one class and one to about sixty clips."""
    import numpy as np

    share = np.array(clips_per_class) / sum(clips_per_class)
    per_class = np.maximum(2, np.round(share * recordings)).astype(int)
    per_class[np.argmax(per_class)] += recordings - per_class.sum()
    targets = np.repeat(np.arange(len(clips_per_class)), clips_per_class)
    found, first = [], 0
    for clips, count in zip(clips_per_class, per_class, strict=True):
        sizes = rng.lognormal(0, 0.9, count)
        each = np.append(np.arange(count), rng.choice(count, clips - count, p=sizes / sizes.sum()))
        found.append(first + each)
        first += count
    return targets, np.concatenate(found)


def _confusions(rng: np.random.Generator, classes: int) -> np.ndarray:
    """Return (true class, class): the amount by which a true class raises the logits of two classes it resembles."""
    import numpy as np

    raised = np.zeros((classes, classes))
    for true in range(classes):
        others = rng.choice(np.delete(np.arange(classes), true), 2, replace=False)
        raised[true, others] = rng.exponential(1.0, 2)
    return raised
