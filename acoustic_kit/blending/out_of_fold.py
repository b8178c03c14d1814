"""What each method predicts for clips that it was not fitted on.

One partition serves all questions. What is *predicted* for fold j by a fit without the folds {i, j} answers how to
choose when fold i is kept apart; a fit without {j} alone predicts fold j for the nested estimate, and for the choice
that is taken in the end. A fit without {i, j} serves both i and j: with five folds 10 + 5 + 1 fits a method, not 31.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from acoustic_kit.blending.arrays import group_codes, task_of
from acoustic_kit.blending.combine import FIXED, STACKED, Fit
from acoustic_kit.blending.greedy_selection import greedy_weights
from acoustic_kit.blending.nested import nested_folds
from acoustic_kit.blending.run_choice import RunChoice
from acoustic_kit.blending.simplex_weights import simplex_weights
from acoustic_kit.blending.stacking import stack_fit

Outer = int | None  # the fold that is kept apart; None: none is


@dataclass(eq=False)
class OutOfFold:
    """Fits methods without some folds, each once, and predicts those folds."""

    probabilities: np.ndarray  # (runs, clips, classes)
    targets: np.ndarray
    groups: np.ndarray  # int (clips,), from 0
    metric: str
    top: int | None
    diverse: bool
    seed: int
    on_fit: Callable[[], None]  # hears of every fit that takes time

    def __post_init__(self) -> None:
        self.task = task_of(self.targets)
        self._members: dict[frozenset[int], np.ndarray] = {}
        self._fits: dict[tuple[str, frozenset[int]], Fit] = {}
        self._predictions: dict[tuple[str, int, frozenset[int]], np.ndarray] = {}

    def part(self, clips: np.ndarray) -> "OutOfFold":
        """The same of some clips, bool (clips,), in folds of their own; itself of all."""
        if clips.all():
            return self
        return replace(
            self,
            probabilities=self.probabilities[:, clips],
            targets=self.targets[clips],
            groups=group_codes(self.groups[clips], int(clips.sum())),
        )

    @cached_property
    def folds(self) -> np.ndarray:
        """The nested fold of each clip: int (clips,)."""
        return nested_folds(self.targets, self.groups, self.seed)

    @property
    def n_folds(self) -> int:
        """How many nested folds there are."""
        return int(self.folds.max()) + 1

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
            self._predictions[key] = self.predicted(method, without, self.probabilities, self.folds == fold)
        return self._predictions[key]

    def predicted(self, method: str, without: frozenset[int], probabilities: np.ndarray, of: np.ndarray) -> np.ndarray:
        """What it predicts for some clips, bool (clips,), of any probabilities (runs, clips, classes) of the runs."""
        return self.fit(method, without).predict(probabilities[np.ix_(self.members(without), of)])

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
