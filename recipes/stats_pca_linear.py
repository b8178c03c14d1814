"""Spectral statistics, PCA and logistic regression.

Source: akit's own baseline; a minute on a laptop.
Published: none (Piczak's random forest: 0.727 accuracy on ESC-10).
Differs: from the summary tables of Freesound 2018: scaling and PCA are fitted on training folds only.
Float64, a small tolerance and one thread make the scores the same on machines with other processors and cores.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from threadpoolctl import threadpool_limits

import acoustic_kit as akit
from acoustic_kit.data.clips import ALL_TARGETS
from acoustic_kit.recipe.heads import clipped_scaler

if TYPE_CHECKING:
    import optuna


class Settings(akit.Settings):
    sample_rate: int = Field(22050, ge=4000, description="Hz; clips are resampled to it")
    n_components: int | float = Field(
        0.97, gt=0, description="fraction of variance that PCA keeps; from 1: number of components"
    )
    clip: float = Field(3.0, gt=0, description="standardized columns are clipped at so many deviations")
    C: float = Field(0.1, gt=0, description="inverse strength of the L2 penalty")


SEEDED = False  # nothing is random: every seed gives the same run
FAST = akit.Fast(clips_per_class=8, folds=2, settings={"n_components": 20})


def features(s: Settings) -> dict[str, akit.Feature]:
    return {"x": akit.Stats(wave=akit.Wave(sample_rate=s.sample_rate))}


def train(fold: akit.Fold, s: Settings) -> akit.FitResult:
    x = fold.train["x"].astype(np.float64)
    n_components = s.n_components if s.n_components < 1 else min(int(s.n_components), *x.shape)
    solver = "covariance_eigh" if len(x) > x.shape[1] else "full"  # a long step would delay Ctrl-C
    columns = make_pipeline(*clipped_scaler(s.clip), PCA(n_components, svd_solver=solver))
    classifier = LogisticRegression(C=s.C, tol=1e-6, max_iter=2000)
    with threadpool_limits(1, "blas"):  # with more threads on busy cores: 16 s instead of 0.4 s
        if fold.train.task == "multi":
            fitted, uses = fit_each_class(classifier, columns.fit_transform(x), fold.train), ALL_TARGETS
        else:
            fitted, uses = fit_one_label(classifier, columns.fit_transform(x), fold.train), ALL_TARGETS - {"unknown"}
    return akit.FitResult(make_pipeline(*(step for _, step in columns.steps), fitted), uses=uses)


def fit_one_label(classifier: LogisticRegression, x: np.ndarray, clips: akit.Clips) -> LogisticRegression:
    """Fit the classes of a single-label task. A clip of soft targets counts once for each class, by its target."""
    rows, labels = np.nonzero(clips.targets > 0)
    weights = clips.weights[rows] * clips.targets[rows, labels]
    weighted = (weights != 1).any()
    return classifier.fit(x[rows], labels, weights / (weights.sum() / len(x)) if weighted else None)


def fit_each_class(classifier: LogisticRegression, x: np.ndarray, clips: akit.Clips) -> OneVsRestClassifier:
    """Fit each class of a multi-label task to the clips for which it is known.

    A clip of a soft target counts as positive by the target, and as negative by the rest.
    """
    weights, targets = clips.weights / clips.weights.mean(), clips.targets
    if (weights == 1).all() and (targets == clips.labels).all():
        return OneVsRestClassifier(classifier).fit(x, clips.labels)
    found = OneVsRestClassifier(DummyClassifier(strategy="prior")).fit(x, clips.labels)
    for number, target in enumerate(targets.T):
        weight, label = np.concatenate([weights * target, weights * (1 - target)]), np.repeat([True, False], len(x))
        used = weight > 0  # not if unknown
        if len(set(label[used])) == 2:
            found.estimators_[number] = clone(classifier).fit(np.tile(x, (2, 1))[used], label[used], weight[used])
    return found


def predict(model: Pipeline, clips: akit.Clips, s: Settings) -> np.ndarray:
    return akit.class_probabilities(model, clips["x"].astype(np.float64), len(clips.classes))


def search(trial: "optuna.Trial") -> dict[str, Any]:
    return {
        "n_components": trial.suggest_float("n_components", 0.8, 0.995),
        "clip": trial.suggest_float("clip", 1.5, 10, log=True),
        "C": trial.suggest_float("C", 1e-3, 10, log=True),
    }
