"""Detection of uninformative predictions: constant ones, and scores that shuffled labels reach."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from acoustic_kit.metrics.names import get_metric
from acoustic_kit.metrics.scores import score, score_or_nan

SHUFFLES, DEVIATIONS, MARGIN = 20, 3, 0.05
SAME = 1e-6  # of two probabilities


def find_guessing(metric: str, targets: np.ndarray | None, probabilities: np.ndarray) -> str | None:
    """Return evidence that predictions are uninformative, or None.

    They are if all clips have the same ones, or if the score is not better than that with the targets shuffled among
    the clips: by three standard deviations of 20 shuffles, and by 0.05 or, if that is less, the mean of the shuffles.

    Parameters
    ----------
    metric : see `acoustic_kit.metrics`
    targets : int64 (clips,) or bool (clips, classes); None if they are not known
    probabilities : float64 (clips, classes)

    """
    if len(probabilities) < 2:
        return None
    if np.ptp(probabilities, axis=0).max() < SAME:
        return f"all {len(probabilities)} clips have the same predictions"
    if targets is None or (targets == targets[:1]).all():  # one class: nothing to shuffle
        return None
    found, rng = score_or_nan(metric, targets, probabilities), np.random.default_rng(0)
    if math.isnan(found):
        return None
    shuffled = [score(metric, rng.permutation(targets), probabilities) for _ in range(SHUFFLES)]
    chance, spread = float(np.mean(shuffled)), float(np.std(shuffled))
    sign = get_metric(metric).sign
    if sign * (found - chance) > max(DEVIATIONS * spread, min(MARGIN, chance)):
        return None
    side = "above" if sign > 0 else "below"
    return f"{metric} {found:.4f} is not {side} chance: shuffled labels give {chance:.4f} ± {spread:.4f}"


def what_to_try(settings: Mapping[str, Any], *, fast: bool) -> str:
    """Return advice for a model whose predictions are uninformative, by the settings of its run."""
    if fast:
        return "Run the recipe without --fast, which trains briefly and on few clips."
    rate = next((name for name in ("lr", "max_lr") if name in settings), None)
    tries = [
        *([f"more epochs (--set epochs={2 * settings['epochs']})"] if isinstance(settings.get("epochs"), int) else []),
        *([f"another learning rate (--set {rate}={settings[rate] / 3:.2g})"] if rate else []),
    ]
    look = "look at clips and labels (`akit data inspect`) and at the curves (`akit report`)"
    return f"Try {' or '.join(tries)}; {look}." if tries else f"{look.capitalize()}."
