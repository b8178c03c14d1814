"""k nearest neighbors by cosine similarity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from acoustic_kit.data.clips import ALL_TARGETS, TargetKind
from acoustic_kit.recipe.heads.examples import Examples
from acoustic_kit.task import Task


@dataclass(frozen=True)
class NeighborModel:
    """Log-odds of the votes of the k nearest clips."""

    rows: np.ndarray  # float32 (clips, columns), of length one
    targets: np.ndarray  # float32 (clips, classes), NaN if unknown
    weights: np.ndarray  # float32 (clips,)
    frequencies: np.ndarray  # float64 (classes,), the votes of one more neighbor
    task: Task
    k: int
    slope: float
    offset: float

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Return the logits of float32 (clips, columns): float32 (clips, classes)."""
        return self.slope * next(self.votes(x, [self.k])) + self.offset

    def votes(self, x: np.ndarray, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield, for each of ascending numbers of neighbors, the logarithm or log-odds of their votes: float32."""
        from sklearn.neighbors import NearestNeighbors

        most = min(max(numbers), len(self.rows))
        index = NearestNeighbors(n_neighbors=most, algorithm="brute").fit(self.rows)
        nearest = index.kneighbors(_unit(x), return_distance=False)
        known = ~np.isnan(self.targets) * self.weights[:, None]
        weighted = np.nan_to_num(self.targets) * self.weights[:, None]
        votes, total = np.tile(self.frequencies, (len(x), 1)), np.ones((len(x), len(self.frequencies)))
        first = 0
        for number in numbers:
            for place in range(first, min(number, most)):
                votes += weighted[nearest[:, place]]
                total += known[nearest[:, place]]
            first = number
            odds = votes / (total - votes if self.task == "multi" else total)
            yield np.log(odds).astype(np.float32)


class Neighbors:
    """k nearest neighbors: the weighted votes of their known targets, and the class frequencies as one vote more."""

    STRENGTHS: ClassVar[tuple[float, ...]] = (1, 2, 3, 5, 8, 12, 20, 30, 50)  # k
    NEEDS_CALIBRATION: ClassVar[bool] = True
    USES: ClassVar[frozenset[TargetKind]] = ALL_TARGETS

    def __init__(self, clips: Examples) -> None:
        self.clips = clips

    def scores(self, x: np.ndarray, strengths: Sequence[float]) -> Iterator[np.ndarray]:
        """Yield the scores of float32 (clips, columns) for each k: float32 (clips, classes)."""
        return self.model(1).votes(x, [int(k) for k in strengths])

    def model(self, strength: float, slope: float = 1.0, offset: float = 0.0) -> NeighborModel:
        """Return the model of one k, whose logits are `slope` · scores + `offset`."""
        clips = self.clips
        return NeighborModel(
            _unit(clips.x), clips.targets, clips.weights, clips.frequencies, clips.task, int(strength), slope, offset
        )


def _unit(x: np.ndarray) -> np.ndarray:
    """Return rows scaled to length one; rows of zeros stay."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x / np.where(length > 0, length, 1), np.float32)
