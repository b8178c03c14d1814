"""Choice of runs: the best by their own score, or those whose mean has the smallest error."""

from collections.abc import Callable, Sequence

import numpy as np

from acoustic_kit.metrics import get_metric, score, score_ranked, top_k

MAX_VALUES = 5_000_000  # of all runs in memory at once


class RunChoice:
    """Choice among runs (clips, classes) on any part of the clips; predicted labels are computed once for all parts."""

    def __init__(self, runs: Sequence[np.ndarray], targets: np.ndarray, metric: str) -> None:
        self.runs, self.targets, self.metric = runs, targets, metric
        self._score: Callable[[str, np.ndarray, np.ndarray], float] = score
        self._predictions = runs
        if targets.ndim == 1 and not get_metric(metric).needs_probabilities:
            self._score = score_ranked
            self._predictions = [top_k(run, get_metric(metric).n_labels).astype(np.int32) for run in runs]

    def scores(self, clips: np.ndarray) -> np.ndarray:
        """Return the score of each run on some clips: float64 (runs,)."""
        return np.array([self._score(self.metric, self.targets[clips], run[clips]) for run in self._predictions])

    def best_first(self, clips: np.ndarray) -> np.ndarray:
        """Return the positions of the runs by their scores on some clips, best first, equal ones in order."""
        return np.argsort(-get_metric(self.metric).sign * self.scores(clips), kind="stable")

    def take(self, clips: np.ndarray, top: int | None, diverse: bool) -> np.ndarray:
        """Return the ascending positions of the ``top`` runs on some clips; None, or more than there are, for all."""
        n = len(self.runs)
        if top is None or top >= n:
            return np.arange(n)
        return np.sort(self._diverse(clips, top) if diverse else self.best_first(clips)[:top])

    def _diverse(self, clips: np.ndarray, top: int) -> np.ndarray:
        """Return runs chosen one by one: each time the run that minimizes the Brier score of the mean.

        With e the errors (clips, classes) of a run, the Brier score of a mean of k runs is the sum of the products
        <e_r, e_s> of all their pairs, divided by k². It trades accuracy against diversity of errors without a constant
        (Krogh and Vedelsby 1994: error less ambiguity).
        """
        products = self._error_products(clips)
        chosen: list[int] = []
        with_chosen = np.zeros(len(products))  # sum of the products of each run with the chosen ones
        for _ in range(top):
            cost = 2 * with_chosen + np.diag(products)
            cost[chosen] = np.inf
            chosen.append(int(np.argmin(cost)))
            with_chosen += products[:, chosen[-1]]
        return np.array(chosen)

    def _error_products(self, clips: np.ndarray) -> np.ndarray:
        """Return the mean over clips of <e_r, e_s> for all pairs of runs, float64 (runs, runs)."""
        n, classes = len(self.runs), self.runs[0].shape[1]
        total = np.zeros((n, n))
        size = max(1, MAX_VALUES // (n * classes))
        for start in range(0, len(clips), size):
            part = clips[start : start + size]
            truth = self.targets[part] if self.targets.ndim == 2 else self.targets[part, None] == np.arange(classes)
            errors = np.nan_to_num(np.stack([(run[part] - truth).ravel() for run in self.runs]))  # 0 if unknown
            total += errors @ errors.T
        return total / len(clips)
