"""Metrics as formulas over counts of predictions."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.metrics.counts import Counts

_MAP_AT = re.compile(r"map([1-9]\d*)", re.ASCII)


class UndefinedError(AkitError, ValueError):
    """A metric is undefined for some targets, such as ROC-AUC if no class has both positive and negative clips."""


@dataclass(frozen=True)
class Metric:
    """A metric, or a weighted sum of metrics.

    All of ``score``, the bootstrap and the greedy selection of blends compute ``value`` from counts.
    """

    name: str
    description: str
    value: Callable[[Counts], np.ndarray]  # counts of clips, or of weighted draws → float, or (draws,)
    tasks: tuple[str, ...] = ("single", "multi")
    n_labels: int = 1  # how many of a clip's ranked labels it reads; 0 for none
    needs_probabilities: bool = False  # labels alone do not determine it
    ranks_clips: bool = False  # it compares the probabilities of a class between clips
    macro: bool = False  # it averages over classes
    scores_absent_classes: bool = False  # among them classes that are predicted only
    needs_order: bool = False  # of the classes
    greater_is_better: bool = True
    lowest: float = 0.0  # possible value
    highest: float = 1.0  # possible value; of a weighted sum, the sum of the weights
    max_draws: int | None = None  # of the bootstrap; None for as many as usual
    parts: tuple[tuple[float, Metric], ...] = ()  # of a weighted sum

    @property
    def terms(self) -> tuple[tuple[float, Metric], ...]:
        """Weights and metrics of a weighted sum; the metric itself if it is none."""
        return self.parts or ((1.0, self),)

    @property
    def sign(self) -> int:
        """1 if greater is better, -1 if lower is better: of two scores times the sign, the greater is better."""
        return 1 if self.greater_is_better else -1

    def of(self, counts: Counts) -> float:
        """Return the metric of the counts of clips. Raises UndefinedError if it is undefined, as without any label."""
        found = float(self.value(counts))
        if np.isnan(found):
            why = "these clips do not determine it" if counts.true.any() else "no clip has a label"
            raise UndefinedError(f"{why}: {self.name!r} is undefined")
        return found

    def require_task(self, task: str) -> None:
        """Raise UsageError if the metric does not fit the task (``single`` or ``multi``)."""
        if task not in ("single", "multi"):
            raise UsageError(f"unknown task {task!r}; it is 'single' or 'multi'")
        unfit = [metric.name for _, metric in self.terms if task not in metric.tasks]
        if unfit:
            labels = "several labels" if task == "multi" else "one label"
            *most, last = fitting_metrics(task)
            raise UsageError(f"{unfit[0]!r} does not fit a task with {labels} a clip; {', '.join(most)} and {last} do")


def _accuracy(counts: Counts) -> np.ndarray:
    return np.asarray(counts.hits.sum(axis=0) / counts.n_clips)


def _balanced_accuracy(counts: Counts) -> np.ndarray:
    return _mean_of(counts.hits / np.maximum(counts.true, 1), counts.true > 0)


def _f1(counts: Counts) -> np.ndarray:
    both = counts.true + counts.predicted
    f1 = 2 * counts.hits / np.maximum(both, 1)
    return np.asarray(f1.mean(axis=0)) if counts.multi_label else _mean_of(f1, both > 0)


def _micro_f1(counts: Counts) -> np.ndarray:
    both = counts.true.sum(axis=0) + counts.predicted.sum(axis=0)
    return np.asarray(2 * counts.hits.sum(axis=0) / np.maximum(both, 1))


def _map_at(k: int) -> Callable[[Counts], np.ndarray]:
    return lambda counts: np.asarray(1 / np.arange(1, k + 1)[: len(counts.places)] @ counts.places[:k] / counts.n_clips)


def _kappa(counts: Counts) -> np.ndarray:
    observed, by_chance = counts.squared_distance
    return np.where(by_chance > 0, 1 - observed / np.where(by_chance > 0, by_chance, 1), np.nan)


def _lwlrap(counts: Counts) -> np.ndarray:
    labels = counts.true.sum(axis=0)
    return np.where(labels > 0, counts.label_precision / np.maximum(labels, 1), np.nan)


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    return _mean_of(values, np.isfinite(values))


def _mean_of(values: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Return the mean over those of the classes that are taken, (classes, …) → (…): NaN if none is."""
    n = taken.sum(axis=0)
    return np.asarray(np.where(n > 0, values.sum(axis=0, where=taken) / np.maximum(n, 1), np.nan))


def _map_metric(k: int) -> Metric:
    places = "1, 1/2, …" if k > 3 else ", ".join(("1", "1/2", "1/3")[:k])
    text = f"MAP@{k}, Kaggle's: {places} for the true label in first, second, … place, 0 after {k}"
    return Metric(f"map{k}", text, _map_at(k), ("single",), n_labels=k)


def _ranking_metric(name: str, description: str, of_classes: Callable[[Counts], np.ndarray]) -> Metric:
    """Return the mean of a measure over the classes for which it is defined, each of which ranks the clips."""
    return Metric(
        name,
        description,
        lambda counts: _mean_of_known(of_classes(counts)),
        n_labels=0,
        needs_probabilities=True,
        ranks_clips=True,
        macro=True,
    )


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "fraction of clips whose first label is the true one", _accuracy, ("single",)),
        Metric(
            "balanced_accuracy", "recall averaged over the true classes", _balanced_accuracy, ("single",), macro=True
        ),
        Metric(
            "f1",
            "macro-F1: F1 averaged over the classes; multi-label: of probabilities of at least 0.5",
            _f1,
            macro=True,
            scores_absent_classes=True,
        ),
        _map_metric(3),
        _ranking_metric(
            "map",
            "macro average precision: averaged over the classes that have positive clips",
            lambda counts: counts.average_precision,
        ),
        _ranking_metric(
            "cmap5",
            "macro average precision with five more positive clips of probability 1 in each class",
            lambda counts: counts.padded_average_precision,
        ),
        _ranking_metric(
            "roc_auc",
            "area under the ROC curve, averaged over the classes that have positive and negative clips",
            lambda counts: counts.roc_auc,
        ),
        Metric(
            "lwlrap",
            "label-weighted label-ranking average precision: the precision of a label in the ranking of its clip",
            _lwlrap,
            n_labels=0,
            needs_probabilities=True,
        ),
        Metric("micro_f1", "F1 of all labels together: of probabilities of at least 0.5", _micro_f1, ("multi",)),
        Metric(
            "micro_map",
            "average precision of all classes together",
            lambda counts: counts.pooled_average_precision,
            n_labels=0,
            needs_probabilities=True,
            ranks_clips=True,
        ),
        Metric(
            "log_loss",
            "mean negative log-likelihood, lower is better; multi-label: averaged over the classes",
            lambda counts: _mean_of_known(counts.log_loss),
            n_labels=0,
            needs_probabilities=True,
            greater_is_better=False,
            highest=math.inf,
        ),
        Metric(
            "kappa",
            "Cohen's kappa with quadratic weights, of ordered classes",
            _kappa,
            ("single",),
            needs_order=True,
            lowest=-1.0,
        ),
    )
}


def find_metric(name: str) -> Metric | None:
    """Return the metric of a name, also ``map5``, ``map10``, …; None if there is none."""
    at = _MAP_AT.fullmatch(name)
    return METRICS.get(name) or (_map_metric(int(at[1])) if at else None)


def fitting_metrics(task: str) -> tuple[str, ...]:
    """Return the names of the metrics that fit a task (``single`` or ``multi``)."""
    return tuple(name for name, metric in METRICS.items() if task in metric.tasks)
