"""What one more pick would do to every clip's decision, for each candidate run.

A sum over picks S (clips, classes) and a candidate's probabilities p: only the order of S + p within a row counts. A
class whose sum is behind the highest by more than ``spread``, the highest p less the lowest, is not taken whatever run
is added next: only the others contend, mostly one or two, and the kernels pass over all else.
"""

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def settle(total: np.ndarray, spread: float, leads: np.ndarray, contenders: np.ndarray, counts: np.ndarray) -> None:
    """Bring up to date, after one more pick, which classes of each row contend.

    - ``leads``: float32 (clips,), at most the lead of the highest sum; one pick takes ``spread`` of it, so that rows
      with a long lead need not be looked at
    - ``contenders``: int16 (clips, classes); the first ``counts`` of a row are classes, ascending
    - ``counts``: int16 (clips,); where it is 1, the label is fixed
    """
    for clip in range(len(total)):
        leads[clip] -= spread
        if leads[clip] > spread:
            continue
        best, second = -np.inf, -np.inf
        for c in range(total.shape[1]):
            value = total[clip, c]
            if value > best:
                second, best = best, value
            elif value > second:
                second = value
        leads[clip] = best - second
        n = 0
        for c in range(total.shape[1]):
            if best - total[clip, c] <= spread:
                contenders[clip, n] = c
                n += 1
        counts[clip] = n


@numba.njit(cache=True, nogil=True)
def count_labels(
    total: np.ndarray,
    run: np.ndarray,
    targets: np.ndarray,
    clips: np.ndarray,
    contenders: np.ndarray,
    counts: np.ndarray,
    hits: np.ndarray,
    predicted: np.ndarray,
) -> None:
    """Add, for each class, the hits and the labels given to ``clips`` by ``total + run`` to int64 (classes,)."""
    for clip in clips:
        best, label = -np.inf, 0
        for i in range(counts[clip]):
            c = contenders[clip, i]
            value = total[clip, c] + run[clip, c]
            if value > best:
                best, label = value, c
        predicted[label] += 1
        if label == targets[clip]:
            hits[label] += 1


@numba.njit(cache=True, nogil=True)
def count_places(total: np.ndarray, run: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """How many clips have their true label in first, second and third place of ``total + run``: int64 (3,)."""
    found = np.zeros(3, np.int64)
    for clip in range(len(targets)):
        y = targets[clip]
        true = total[clip, y] + run[clip, y]
        before = 0
        for c in range(total.shape[1]):
            value = total[clip, c] + run[clip, c]
            before += value > true or (value == true and c < y)
        if before < 3:
            found[before] += 1
    return found


@numba.njit(cache=True, nogil=True)
def true_log_loss(total: np.ndarray, run: np.ndarray, targets: np.ndarray, picks: int) -> float:
    """The mean of -log of the true label's share of ``total + run``, whose rows sum to ``picks`` (floor 1e-7)."""
    loss = 0.0
    for clip in range(len(targets)):
        loss -= np.log(max((total[clip, targets[clip]] + run[clip, targets[clip]]) / picks, 1e-7))
    return loss / len(targets)
