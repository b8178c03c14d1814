"""What each method predicts for clips that it was not fitted on.

One partition serves all questions. What is *predicted* for fold j by a fit without the folds {i, j} answers how to
choose when fold i is kept apart; a fit without {j} alone predicts fold j for the nested estimate, and for the choice
that is taken in the end. A fit without {i, j} serves both i and j: with five folds 10 + 5 + 1 fits a method, not 31.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from acoustic_kit.blending.arrays import task_of
from acoustic_kit.blending.combine import FIXED, STACKED, Fit
from acoustic_kit.blending.greedy_selection import greedy_weights
from acoustic_kit.blending.run_choice import RunChoice
from acoustic_kit.blending.simplex_weights import simplex_weights
from acoustic_kit.blending.stacking import stack_fit

Outer = int | None  # the fold that is kept apart; None: none is


@dataclass(eq=False)
class OutOfFold:
    """Fits methods without some folds, each once, and predicts those folds."""

    probabilities: np.ndarray  # (runs, clips, classes)
    targets: np.ndarray
    groups: np.ndarray  # int (clips,)
    folds: np.ndarray  # int (clips,)
    metric: str
    top: int | None
    diverse: bool
    seed: int
    on_fit: Callable[[], None]  # hears of every fit that takes time

    def __post_init__(self) -> None:
        self.task = task_of(self.targets)
        self.n_folds = int(self.folds.max()) + 1
        self._members: dict[frozenset[int], np.ndarray] = {}
        self._fits: dict[tuple[str, frozenset[int]], Fit] = {}
        self._predictions: dict[tuple[str, int, frozenset[int]], np.ndarray] = {}

    def drawn(self, most: int) -> "OutOfFold":
        """The same folds of a draw of at most so many clips; itself where there are no more."""
        n = len(self.folds)
        if n <= most:
            return self
        some = np.sort(np.random.default_rng(self.seed).choice(n, most, replace=False))
        return replace(
            self,
            probabilities=self.probabilities[:, some],
            targets=self.targets[some],
            groups=self.groups[some],
            folds=self.folds[some],
        )

    @cached_property
    def run_choice(self) -> RunChoice:
        """The scores of single runs on any part of the clips."""
        return RunChoice(self.probabilities, self.targets, self.metric)

    def clips(self, without: frozenset[int]) -> np.ndarray:
        """Positions of the clips outside some folds."""
        return np.flatnonzero(~np.isin(self.folds, list(without)))

    def members(self, without: frozenset[int]) -> np.ndarray:
        """The runs that take part, ascending, chosen on the clips outside some folds."""
        if without not in self._members:
            self._members[without] = self.run_choice.take(self.clips(without), self.top, self.diverse)
        return self._members[without]

    def fit(self, method: str, without: frozenset[int]) -> Fit:
        """A method fitted to the members outside some folds."""
        if (method, without) not in self._fits:
            self._fits[method, without] = self._fit(method, without)
        return self._fits[method, without]

    def _fit(self, method: str, without: frozenset[int]) -> Fit:
        members = self.members(without)
        runs, clips = [self.probabilities[run] for run in members], self.clips(without)
        if method in FIXED:
            return Fit(method, self.task, np.full(len(runs), 1 / len(runs)))
        same = [self._fits[one, without] for one in STACKED if method in STACKED and (one, without) in self._fits]
        if same:  # both methods have one stack, and read it differently
            return replace(same[0], method=method)
        fit = self._fit_to(method, runs, clips)
        self.on_fit()
        return fit

    def _fit_to(self, method: str, runs: list[np.ndarray], clips: np.ndarray) -> Fit:
        if method == "greedy":
            return Fit(method, self.task, greedy_weights(runs, self.targets, clips, self.metric, seed=self.seed))
        if method == "weights":
            return Fit(method, self.task, simplex_weights(runs, self.targets, clips, self.metric))
        return stack_fit(method, runs, self.targets, clips, self.groups)

    def held(self, method: str, fold: int, without: frozenset[int]) -> np.ndarray:
        """What a method fitted outside some folds predicts for one of them: float64 (clips of the fold, classes)."""
        key = (method, fold, without)
        if key not in self._predictions:
            fit, clips = self.fit(method, without), np.flatnonzero(self.folds == fold)
            self._predictions[key] = fit.predict(self.probabilities[np.ix_(self.members(without), clips)])
        return self._predictions[key]

    def judged_by(self, outer: Outer) -> np.ndarray:
        """Positions of the clips that may decide while fold ``outer`` is kept apart."""
        return self.clips(frozenset() if outer is None else frozenset({outer}))

    def predictions(self, method: str, outer: Outer) -> np.ndarray:
        """A method's predictions for ``judged_by(outer)``, each fold by a fit that saw neither it nor ``outer``."""
        apart = set() if outer is None else {outer}
        blend = np.empty(self.probabilities.shape[1:])
        for fold in set(range(self.n_folds)) - apart:
            blend[self.folds == fold] = self.held(method, fold, frozenset(apart | {fold}))
        return np.asarray(blend[self.judged_by(outer)])

    def can_judge(self, outer: Outer) -> bool:
        """Whether enough folds are left to fit on some and judge on others while ``outer`` is kept apart."""
        return self.n_folds >= (2 if outer is None else 3)
