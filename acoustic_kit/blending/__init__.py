"""Blending of runs, with a nested estimate of the blend's score.

Arrays are ``(runs, clips, classes)``, finite, classes in the manifest's order; they are not modified. A method maps
such an array to ``(clips, classes)``. ``mean``, ``geometric``, ``rank`` and ``power`` do so directly,
``METHODS[name](probabilities, task)``; the others are first fitted to labels, ``METHODS[name](probabilities, targets,
groups, metric)``, which returns an object with ``predict``. The score of a blend on the predictions that chose it is
optimistic; ``choose`` therefore also chooses on some folds and scores on the others (the nested estimate).
"""

from collections.abc import Callable
from typing import Any

from acoustic_kit.blending.arrays import first_of_equal
from acoustic_kit.blending.blend import Blend, plain_blend
from acoustic_kit.blending.choosing import choose
from acoustic_kit.blending.combine import Fit
from acoustic_kit.blending.greedy_selection import greedy
from acoustic_kit.blending.methods import geometric, mean, power, rank
from acoustic_kit.blending.simplex_weights import weights
from acoustic_kit.blending.stacking import stack

METHODS: dict[str, Callable[..., Any]] = {
    "auto": choose,
    "mean": mean,
    "geometric": geometric,
    "rank": rank,
    "power": power,
    "greedy": greedy,
    "weights": weights,
    "stack": stack,
}

__all__ = [
    "METHODS",
    "Blend",
    "Fit",
    "choose",
    "first_of_equal",
    "geometric",
    "greedy",
    "mean",
    "plain_blend",
    "power",
    "rank",
    "stack",
    "weights",
]
