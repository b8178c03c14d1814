"""Choice of runs and fit of a method on a part of the clips."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from acoustic_kit.blending.arrays import task_of
from acoustic_kit.blending.combine import AVERAGED, FIXED, RANKING, Fit, averaged_predictions, combine, joined
from acoustic_kit.blending.greedy_selection import greedy_weights
from acoustic_kit.blending.methods import mean_of, powers
from acoustic_kit.blending.ranks import mean_rank, quantiles_of, ranks_of
from acoustic_kit.blending.run_choice import RunChoice
from acoustic_kit.blending.simplex_weights import simplex_weights
from acoustic_kit.blending.stacking import stack_fit
from acoustic_kit.metrics import get_metric

MAX_FITTED = 100  # runs; of more, a fitted method takes the best


@dataclass(frozen=True, eq=False)
class Chosen:
    """Runs chosen on some clips, and the method fitted to them."""

    members: np.ndarray  # positions of the runs, ascending
    fit: Fit  # of the members
    best: int  # position of the best single run

    def predictions(self, runs: Sequence[np.ndarray], clips: np.ndarray) -> dict[str, np.ndarray]:
        """Return the predictions of the method for some clips; of ``auto`` also those of each combined method."""
        found = [runs[run][clips] for run in self.members]
        fit = self.fit
        if fit.method != "auto":
            return {fit.method: combine(fit.method, found, fit.weights, fit.parameters, fit.task)}
        parts = averaged_predictions(found, fit.parameters, fit.task)
        return {"auto": joined(parts, fit.parameters, fit.task), **parts}


@dataclass(frozen=True, eq=False)
class Fitter:
    """Choice of runs and fit of one method, on any part of the clips."""

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
        """Number of calls of ``on_fit`` in one call of ``choose_on``."""
        names = self.combined if self.method == "auto" else (self.method,)
        return 0 if len(self.runs) == 1 or self.top == 1 else len(set(names) & self.fitted)

    @cached_property
    def fitted(self) -> set[str]:
        """Methods with weights or coefficients to fit: ranks and powers if only the order of clips counts."""
        ranking = compares_clips_only(self.metric) and task_of(self.targets) == "multi"
        return {"greedy", "weights", "stack", *(("rank", "power") if ranking else ())}

    @property
    def combined(self) -> tuple[str, ...]:
        """Methods that ``auto`` combines."""
        return RANKING if "rank" in self.fitted else AVERAGED

    @cached_property
    def run_choice(self) -> RunChoice:
        """Scores of single runs on any part of the clips."""
        return RunChoice(self.runs, self.targets, self.metric)

    def choose_on(self, clips: np.ndarray) -> Chosen:
        """Choose the runs and fit the method on clips, int (clips,) positions.

        The best run is that of all clips if the metric ranks clips: predictions of several runs, one for each part of
        the clips, are not comparable between the parts.
        """
        members = self.members_on(clips)
        compared = np.arange(len(self.targets)) if get_metric(self.metric).ranks_clips else clips
        return Chosen(members, self.fit(members, clips), int(self.run_choice.best_first(compared)[0]))

    def members_on(self, clips: np.ndarray) -> np.ndarray:
        """Return the ascending positions of the runs chosen on some clips."""
        most = MAX_FITTED if self.method in {"auto", *self.fitted} else len(self.runs)
        return self.run_choice.take(clips, most if self.top is None else min(self.top, most), self.diverse)

    def fit(self, members: np.ndarray, clips: np.ndarray) -> Fit:
        """Fit the method to some runs; the predictions of a single run stay unchanged."""
        runs, task = [self.runs[run] for run in members], task_of(self.targets)
        equal = np.full(len(runs), 1 / len(runs))
        if self.method in FIXED and self.method not in self.fitted:
            return Fit(self.method, task, equal)
        if len(runs) == 1:
            return Fit("mean", task, equal)
        if self.method != "auto":
            return self._fit_one(self.method, runs, clips)
        fits = {name: self._fit_one(name, runs, clips) for name in self.combined if name in self.fitted}
        weights = {name: fits[name].weights for name in fits if name != "stack"}
        average = np.mean([equal, *(fit.weights for fit in fits.values())], axis=0)
        if "rank" in fits:
            return Fit("auto", task, average, {**fits["rank"].parameters, **weights})
        margin = margin_of(fits["stack"].parameters["coefficients"], self.groups[clips], task)
        return Fit("auto", task, average, {**fits["stack"].parameters, **weights, "margin": np.array(margin)})

    def _fit_one(self, method: str, runs: Sequence[np.ndarray], clips: np.ndarray) -> Fit:
        if method == "stack":
            fit = stack_fit(runs, self.targets, clips, self.groups)
        elif method == "rank":
            fit = self._fit_ranks([run[clips] for run in runs], self.targets[clips])
        elif method == "power":
            fit = Fit(method, "multi", self._greedy([powers(run[clips]) for run in runs], self.targets[clips]))
        else:
            if method == "greedy":
                found = greedy_weights(runs, self.targets, clips, self.metric, seed=self.seed)
            else:
                found = simplex_weights(runs, self.targets, clips, self.metric)
            fit = Fit(method, task_of(self.targets), found)
        self.on_fit()
        return fit

    def _fit_ranks(self, runs: Sequence[np.ndarray], targets: np.ndarray) -> Fit:
        """Fit a weighted mean of ranks, with the values of the runs' mean, to runs (clips, classes)."""
        quantiles = np.stack([quantiles_of(run) for run in runs])
        weights = self._greedy([ranks_of(run, own) for run, own in zip(runs, quantiles, strict=True)], targets)
        scale = np.stack([quantiles_of(mean_rank(runs, weights, quantiles)), quantiles_of(mean_of(runs))])
        return Fit("rank", "multi", weights, {"quantiles": quantiles, "scale": scale})

    def _greedy(self, values: Sequence[np.ndarray], targets: np.ndarray) -> np.ndarray:
        """Return the weights of greedy selection among ranks or powers (clips, classes): float64 (runs,)."""
        narrow = [one.astype(np.float32) for one in values]
        return greedy_weights(narrow, targets, np.arange(len(targets)), self.metric, seed=self.seed)


def compares_clips_only(metric: str) -> bool:
    """Return whether a metric depends only on the order of clips, not on thresholds, labels or values."""
    return all(part.ranks_clips and not part.n_labels for _, part in get_metric(metric).terms)


def margin_of(coefficients: np.ndarray, groups: np.ndarray, task: str) -> float:
    """Return the log-odds by which ``auto`` must prefer another label to that of the mean: coefficients per clip.

    A fit of k coefficients to n clips overstates its log-likelihood by k / n per clip (Akaike 1974); smaller
    preferences are noise. k is the number of coefficients of one run in the stack, one for each pair of classes: runs
    are alike and share them. Coefficients of a whole class are learned from its recordings: classes per group, if that
    is more. Several labels are independent: k is the number of coefficients of one label.

    - ``coefficients``: of a stack, (runs, classes, classes) or (runs, classes)
    - ``groups``: int (clips,), of the clips that it was fitted to
    """
    n_classes = coefficients.shape[1]
    n_problems = n_classes if task == "multi" else 1
    return float(max(coefficients[0].size / len(groups), n_classes / len(np.unique(groups))) / n_problems)
