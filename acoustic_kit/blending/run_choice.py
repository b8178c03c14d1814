"""Which runs take part: the best by their own score, or those whose mean has the smallest error."""

from collections.abc import Callable

import numpy as np

from acoustic_kit.metrics import score, score_ranked, terms, top_k


class RunChoice:
    """Chooses runs on any part of the clips; what can be computed once for all parts is."""

    def __init__(self, probabilities: np.ndarray, targets: np.ndarray, metric: str) -> None:
        self.probabilities, self.targets, self.metric = probabilities, targets, metric
        names = {name for _, name in terms(metric)}
        self._measure: Callable[[str, np.ndarray, np.ndarray], float] = score
        self._predictions = probabilities
        if targets.ndim == 1 and "map" not in names:
            k = 3 if "map3" in names else 1
            self._measure = score_ranked
            self._predictions = np.stack([top_k(run, k).astype(np.int32) for run in probabilities])

    def scores(self, clips: np.ndarray) -> np.ndarray:
        """Each run's own score on some clips: float64 (runs,)."""
        return np.array([self._measure(self.metric, self.targets[clips], run[clips]) for run in self._predictions])

    def best_first(self, clips: np.ndarray) -> np.ndarray:
        """Positions of the runs by their own score on some clips, best first, of equal ones the earlier."""
        return np.argsort(-self.scores(clips), kind="stable")

    def take(self, clips: np.ndarray, top: int | None, diverse: bool) -> np.ndarray:
        """The ``top`` runs on some clips, as ascending positions; all where ``top`` is None or no fewer."""
        n = len(self.probabilities)
        if top is None or top >= n:
            return np.arange(n)
        return np.sort(self._diverse(clips, top) if diverse else self.best_first(clips)[:top])

    def _diverse(self, clips: np.ndarray, top: int) -> np.ndarray:
        """Run by run the one with which the mean of the chosen has the smallest Brier score.

        With e the errors (clips, classes) of a run, the Brier score of a mean of k runs is the sum of the products
        <e_r, e_s> of all their pairs, divided by k². So good runs and runs whose errors differ from the chosen ones'
        are weighed against each other without any constant (Krogh and Vedelsby 1994: error less ambiguity).
        """
        products = self._error_products(clips)
        chosen: list[int] = []
        with_chosen = np.zeros(len(products))  # of each run with all chosen ones
        for _ in range(top):
            cost = 2 * with_chosen + np.diag(products)
            cost[chosen] = np.inf
            chosen.append(int(np.argmin(cost)))
            with_chosen += products[:, chosen[-1]]
        return np.array(chosen)

    def _error_products(self, clips: np.ndarray) -> np.ndarray:
        """The mean over clips of <e_r, e_s> for all pairs of runs, float64 (runs, runs)."""
        n, _, classes = self.probabilities.shape
        total = np.zeros((n, n))
        for start in range(0, len(clips), 1000):  # part by part: the memory stays that of a thousand clips
            part = clips[start : start + 1000]
            truth = self.targets[part] if self.targets.ndim == 2 else self.targets[part, None] == np.arange(classes)
            errors = (self.probabilities[:, part] - truth).reshape(n, -1)
            total += errors @ errors.T
        return total / len(clips)
