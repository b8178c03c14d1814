"""Choosing runs on some clips, and fitting a method to them there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from acoustic_kit.blending.arrays import task_of
from acoustic_kit.blending.combine import AVERAGED, FIXED, Fit, averaged, averaged_predictions, combine
from acoustic_kit.blending.greedy_selection import greedy_weights
from acoustic_kit.blending.run_choice import RunChoice
from acoustic_kit.blending.simplex_weights import simplex_weights
from acoustic_kit.blending.stacking import stack_fit

MOST_FITTED = 100  # runs; of more, the best take part in a method that is fitted


@dataclass(frozen=True, eq=False)
class Chosen:
    """The runs that some clips chose, and the method fitted to them there."""

    members: np.ndarray  # positions of the runs, ascending
    fit: Fit  # of the members
    best: int  # position of the best single run

    def predictions(self, runs: Sequence[np.ndarray], clips: np.ndarray) -> dict[str, np.ndarray]:
        """Return what the method predicts for some clips, and for ``auto`` what each averaged method does."""
        found = [runs[run][clips] for run in self.members]
        fit = self.fit
        if fit.method != "auto":
            return {fit.method: combine(fit.method, found, fit.weights, fit.parameters, fit.task)}
        parts = averaged_predictions(found, fit.parameters, fit.task)
        return {"auto": averaged(parts, float(fit.parameters["margin"]), fit.task), **parts}


@dataclass(frozen=True, eq=False)
class Fitter:
    """Chooses runs and fits one method, on any part of the clips."""

    runs: Sequence[np.ndarray]  # (clips, classes) each, checked
    targets: np.ndarray
    groups: np.ndarray  # int (clips,), from 0
    metric: str
    method: str
    top: int | None
    diverse: bool
    seed: int
    on_fit: Callable[[], None]  # called after each fit that takes time

    @property
    def slow_fits(self) -> int:
        """How often one call of ``chosen_on`` calls ``on_fit``."""
        names = AVERAGED if self.method == "auto" else (self.method,)
        return 0 if len(self.runs) == 1 or self.top == 1 else len(set(names) - set(FIXED))

    @cached_property
    def run_choice(self) -> RunChoice:
        """The scores of single runs on any part of the clips."""
        return RunChoice(self.runs, self.targets, self.metric)

    def chosen_on(self, clips: np.ndarray) -> Chosen:
        """Choose the runs and fit the method on clips, int (clips,) positions."""
        members = self.members_on(clips)
        return Chosen(members, self.fit(members, clips), int(self.run_choice.best_first(clips)[0]))

    def members_on(self, clips: np.ndarray) -> np.ndarray:
        """Positions of the runs that these clips choose, ascending."""
        most = len(self.runs) if self.method in FIXED else MOST_FITTED
        return self.run_choice.take(clips, most if self.top is None else min(self.top, most), self.diverse)

    def fit(self, members: np.ndarray, clips: np.ndarray) -> Fit:
        """Fit the method to some runs; a single run is taken as it is."""
        runs, task = [self.runs[run] for run in members], task_of(self.targets)
        equal = np.full(len(runs), 1 / len(runs))
        if self.method in FIXED:
            return Fit(self.method, task, equal)
        if len(runs) == 1:
            return Fit("mean", task, equal)
        if self.method != "auto":
            return self._fit_one(self.method, runs, clips)
        fits = {name: self._fit_one(name, runs, clips) for name in AVERAGED if name not in FIXED}
        shares = {name: fits[name].weights for name in ("weights", "greedy")}
        share = np.mean([equal, *(fit.weights for fit in fits.values())], axis=0)
        margin = margin_of(fits["stack"].parameters["coefficients"], self.groups[clips], task)
        return Fit("auto", task, share, {**fits["stack"].parameters, **shares, "margin": np.array(margin)})

    def _fit_one(self, method: str, runs: Sequence[np.ndarray], clips: np.ndarray) -> Fit:
        if method == "stack":
            fit = stack_fit(runs, self.targets, clips, self.groups)
        else:
            if method == "greedy":
                found = greedy_weights(runs, self.targets, clips, self.metric, seed=self.seed)
            else:
                found = simplex_weights(runs, self.targets, clips, self.metric)
            fit = Fit(method, task_of(self.targets), found)
        self.on_fit()
        return fit


def margin_of(coefficients: np.ndarray, groups: np.ndarray, task: str) -> float:
    """Return the log-odds by which ``auto`` has to prefer another label than the mean's: coefficients per clip.

    A fit of k coefficients to n clips overstates its log-likelihood by k / n per clip (Akaike 1974): by less than that,
    a label is preferred for what is noise. k are the coefficients of a run in the stack, which runs share as they are
    alike: one for each pair of classes. What they say of a whole class is learnt from its recordings: classes per
    group, if that is more. Of several labels each is its own question, with the coefficients of one label.

    - ``coefficients``: of a stack, (runs, classes, classes) or (runs, classes)
    - ``groups``: int (clips,), of the clips that it was fitted to
    """
    n_classes = coefficients.shape[1]
    questions = n_classes if task == "multi" else 1
    return float(max(coefficients[0].size / len(groups), n_classes / len(np.unique(groups))) / questions)
