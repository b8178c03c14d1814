"""The subset of a leaderboard's runs whose mean scores best, by a greedy search on at most 20,000 clips."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from acoustic_kit.metrics.names import get_metric
from acoustic_kit.metrics.scores import score

if TYPE_CHECKING:
    from acoustic_kit.data.targets import TrainingSet
    from acoustic_kit.runs.leaderboard import Standing

MAX_RUNS = 20  # of the leaderboard, best first
MAX_CLIPS = 20_000  # that are scored, drawn from the training clips if there are more
TIE = 1e-12


@dataclass(frozen=True)
class BestMean:
    """Runs whose mean scores best."""

    shares: dict[str, float]  # run → its weight in the mean, best run first
    score: float  # on the predictions that chose them


class BestSubset:
    """Search for the subset of scored runs whose mean scores best.

    Runs without predictions for all training clips are ignored, and `--fast` runs if there are full ones; of runs with
    equal predictions one is kept.
    """

    def __init__(self, train: TrainingSet, metric: str) -> None:
        self._clips: slice | np.ndarray = slice(None)
        if len(train) > MAX_CLIPS:
            self._clips = np.sort(np.random.default_rng(0).choice(len(train), MAX_CLIPS, replace=False))
        self._targets = train.targets[self._clips]
        self._metric, self._sign = metric, get_metric(metric).sign
        self._found: dict[bool, list[tuple[float, str, np.ndarray]]] = {True: [], False: []}  # by whether it is fast

    def add(self, standing: Standing, known: np.ndarray, probabilities: np.ndarray) -> None:
        """Add a scored run; the callback for `leaderboard(on_scored=…)`."""
        if not standing.complete or standing.score is None:
            return
        found, here = self._found[standing.run.record.fast], probabilities[self._clips]
        value = -self._sign * standing.score  # lower is better
        if not any(other_value == value and np.array_equal(other, here) for other_value, _, other in found):
            found.append((value, standing.run.name, here))
            found.sort(key=lambda one: one[:2])
            del found[MAX_RUNS:]

    def best(self) -> BestMean | None:
        """Return the runs whose mean scores best; None if there are fewer than two, or no mean beats the best run.

        Greedy selection from the best run, and from the best pair: runs are added one by one as long as one raises the
        score, and removed as long as that does not lower it. No pair scores better than the result, and neither does
        the result less one run.
        """
        found = self._found[False] or self._found[True]
        if len(found) < 2:
            return None
        search = _Search([run for *_, run in found], self._targets, self._metric)
        pair = max(combinations(range(len(found)), 2), key=search.worth)
        chosen = max(search.climb([0]), search.climb(pair), key=lambda runs: (search.worth(runs), -len(runs)))
        if len(chosen) < 2:
            return None
        return BestMean({found[i][1]: 1 / len(chosen) for i in chosen}, self._sign * search.worth(chosen))


class _Search:
    """Local search for a set of runs whose mean no single addition or removal improves."""

    def __init__(self, runs: list[np.ndarray], targets: np.ndarray, metric: str) -> None:
        self._runs, self._targets, self._metric, self._sign = runs, targets, metric, get_metric(metric).sign
        self._scores: dict[tuple[int, ...], float] = {}

    def worth(self, runs: Iterable[int]) -> float:
        """Return the score of the mean of some runs, negated if lower is better."""
        key = tuple(sorted(runs))
        if key not in self._scores:
            mean = sum(self._runs[i] for i in key) / len(key)
            self._scores[key] = self._sign * score(self._metric, self._targets, np.asarray(mean))
        return self._scores[key]

    def climb(self, start: Iterable[int]) -> tuple[int, ...]:
        """Return the positions of the runs at the local optimum reached from some runs, ascending."""
        chosen = tuple(sorted(start))
        while True:
            fewer = [tuple(one for one in chosen if one != i) for i in chosen if len(chosen) > 1]
            more = [(*chosen, i) for i in range(len(self._runs)) if i not in chosen]
            if fewer and self.worth(best := max(fewer, key=self.worth)) >= self.worth(chosen) - TIE:
                chosen = best
            elif more and self.worth(best := max(more, key=self.worth)) > self.worth(chosen) + TIE:
                chosen = tuple(sorted(best))
            else:
                return chosen
