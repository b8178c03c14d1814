"""What one more pick would do to every clip's decision, for each candidate run.

A sum over picks S (clips, classes) and a candidate's probabilities p: only the order of S + p within a row counts. A
clip whose highest sum leads all others by more than ``spread``, the highest p less the lowest, keeps its label whatever
run is added next, and the kernels pass over it.
"""

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def settled(total: np.ndarray, clips: np.ndarray, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """For each of some clips: its label, int64, and whether no single further pick can change it."""
    labels = np.empty(len(clips), np.int64)
    fixed = np.empty(len(clips), np.bool_)
    for i, clip in enumerate(clips):
        best, second, label = -np.inf, -np.inf, 0
        for c in range(total.shape[1]):
            value = total[clip, c]
            if value > best:
                second, best, label = best, value, c
            elif value > second:
                second = value
        labels[i] = label
        fixed[i] = best - second > spread
    return labels, fixed


@numba.njit(cache=True, nogil=True)
def count_labels(
    total: np.ndarray, run: np.ndarray, targets: np.ndarray, clips: np.ndarray, hits: np.ndarray, predicted: np.ndarray
) -> None:
    """Add, for each class, the hits and the labels given to ``clips`` by ``total + run`` to int64 (classes,)."""
    for clip in clips:
        best, label = -np.inf, 0
        for c in range(total.shape[1]):
            value = total[clip, c] + run[clip, c]
            if value > best:
                best, label = value, c
        predicted[label] += 1
        if label == targets[clip]:
            hits[label] += 1


@numba.njit(cache=True, nogil=True)
def count_places(total: np.ndarray, run: np.ndarray, targets: np.ndarray, clips: np.ndarray) -> np.ndarray:
    """How many of ``clips`` have their true label in first, second and third place of ``total + run``: int64 (3,)."""
    found = np.zeros(3, np.int64)
    for clip in clips:
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
def true_log_loss(total: np.ndarray, run: np.ndarray, targets: np.ndarray, clips: np.ndarray, picks: int) -> float:
    """The mean of -log of the true label's share of ``total + run``, whose rows sum to ``picks`` (floor 1e-7)."""
    loss = 0.0
    for clip in clips:
        loss -= np.log(max((total[clip, targets[clip]] + run[clip, targets[clip]]) / picks, 1e-7))
    return loss / len(clips)
