"""The runs of a leaderboard whose mean scores best, found by a search that appears at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from acoustic_kit.metrics.scores import score

if TYPE_CHECKING:
    from acoustic_kit.data.targets import TrainingSet
    from acoustic_kit.runs.leaderboard import Standing

MOST_RUNS = 20  # the first of the leaderboard, that are searched
MOST_CLIPS = 20_000  # that are searched and scored, drawn from the training clips if there are more
TIE = 1e-12


@dataclass(frozen=True)
class BestMean:
    """Runs whose mean scores best."""

    shares: dict[str, float]  # run → its share of the mean, best run first
    score: float  # on the predictions that chose them


class BestTogether:
    """Collects runs as the leaderboard scores them, and finds those whose mean scores best.

    Runs that did not predict all training clips do not count, nor `--fast` runs beside full ones; of runs with equal
    predictions one counts.
    """

    def __init__(self, train: TrainingSet, metric: str) -> None:
        self._clips: slice | np.ndarray = slice(None)
        if len(train) > MOST_CLIPS:
            self._clips = np.sort(np.random.default_rng(0).choice(len(train), MOST_CLIPS, replace=False))
        self._targets = train.targets[self._clips]
        self._metric = metric
        self._found: dict[bool, list[tuple[float, str, np.ndarray]]] = {True: [], False: []}  # by whether it is fast

    def add(self, standing: Standing, known: np.ndarray, probabilities: np.ndarray) -> None:
        """Collect a run that was scored: for `leaderboard(on_scored=…)`."""
        if not standing.complete or standing.score is None:
            return
        found, here = self._found[standing.run.record.fast], probabilities[self._clips]
        if not any(-value == standing.score and np.array_equal(other, here) for value, _, other in found):
            found.append((-standing.score, standing.run.name, here))
            found.sort(key=lambda one: one[:2])
            del found[MOST_RUNS:]

    def best(self) -> BestMean | None:
        """Return the runs whose mean scores best; None if there are fewer than two, or no mean beats the best run.

        Greedy selection from the best run, and from the best pair: runs are added one by one as long as one raises the
        score, and left out as long as that does not lower it. No pair, and none of its parts less one run, beats it.
        """
        found = self._found[False] or self._found[True]
        if len(found) < 2:
            return None
        search = _Search([run for *_, run in found], self._targets, self._metric)
        pair = max(combinations(range(len(found)), 2), key=search.score)
        chosen = max(search.climb([0]), search.climb(pair), key=lambda runs: (search.score(runs), -len(runs)))
        if len(chosen) < 2:
            return None
        return BestMean({found[i][1]: 1 / len(chosen) for i in chosen}, search.score(chosen))


class _Search:
    """Scores means of runs, and climbs to a set of runs that no single change makes better."""

    def __init__(self, runs: list[np.ndarray], targets: np.ndarray, metric: str) -> None:
        self._runs, self._targets, self._metric = runs, targets, metric
        self._scores: dict[tuple[int, ...], float] = {}

    def score(self, runs: Iterable[int]) -> float:
        """Return the score of the mean of some runs."""
        key = tuple(sorted(runs))
        if key not in self._scores:
            mean = sum(self._runs[i] for i in key) / len(key)
            self._scores[key] = score(self._metric, self._targets, np.asarray(mean))
        return self._scores[key]

    def climb(self, start: Iterable[int]) -> tuple[int, ...]:
        """Return the runs that are found from some, in ascending order."""
        chosen = tuple(sorted(start))
        while True:
            fewer = [tuple(one for one in chosen if one != i) for i in chosen if len(chosen) > 1]
            more = [(*chosen, i) for i in range(len(self._runs)) if i not in chosen]
            if fewer and self.score(best := max(fewer, key=self.score)) >= self.score(chosen) - TIE:
                chosen = best
            elif more and self.score(best := max(more, key=self.score)) > self.score(chosen) + TIE:
                chosen = tuple(sorted(best))
            else:
                return chosen
