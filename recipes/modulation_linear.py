"""Modulation spectra beside spectral statistics or covariances of MFCC, PCA and logistic regression.

Source: akit's own; a minute on a laptop.
Published stats_modulation_linear: none (ESC-10, EnvNet-v2 with between-class learning: 0.913, people: 0.957 accuracy).
Published covariance_modulation_linear: none; errs on other clips than stats_modulation_linear, to be blended with it.
Differs: from `stats_pca_linear`: how fast and how regularly each band beats is measured too.
Float64, a small tolerance and one thread make the scores the same on machines with other processors and cores.
"""

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from threadpoolctl import threadpool_limits

import acoustic_kit as akit

if TYPE_CHECKING:
    import optuna


class Settings(akit.Settings):
    sample_rate: int = Field(22050, ge=4000, description="Hz; clips are resampled to it")
    spectrum: Literal["stats", "covariance"] = Field("stats", description="what is measured beside modulation")
    segment: float = Field(2.0, ge=2, le=60, description="seconds over which modulation is analyzed")
    n_components: int | float = Field(
        0.98, gt=0, description="fraction of variance that PCA keeps; from 1: number of components"
    )
    clip: float = Field(3.0, gt=0, description="standardized columns are clipped at so many deviations")
    C: float = Field(0.1, gt=0, description="inverse strength of the L2 penalty")


VARIANTS = {
    "stats_modulation_linear": {},
    "covariance_modulation_linear": {"spectrum": "covariance", "C": 0.3},
}
SEEDED = False  # nothing is random: every seed gives the same run
FAST = akit.Fast(clips_per_class=8, folds=2, settings={"n_components": 20})


def features(s: Settings) -> dict[str, akit.Feature]:
    wave, hop = akit.Wave(sample_rate=s.sample_rate), s.sample_rate // 172  # 6 ms
    spectrum = akit.Stats(wave) if s.spectrum == "stats" else akit.Covariance(akit.LogMel(wave, n_mels=64))
    return {"spectrum": spectrum, "modulation": akit.Modulation(wave, 4 * hop, hop, seconds=s.segment)}


def standardized(n_spectrum: int, n_modulation: int, clip: float) -> ColumnTransformer:
    """Return a transformer that gives both families of columns the same total variance."""
    clipped = FunctionTransformer(np.clip, kw_args={"a_min": -clip, "a_max": clip})  # kurtosis has heavy tails
    columns = {"spectrum": slice(n_spectrum), "modulation": slice(n_spectrum, n_spectrum + n_modulation)}
    total = 1351  # variance of each, the columns of `stats`: the scale for which C was chosen
    return ColumnTransformer(
        [(name, make_pipeline(StandardScaler(), clipped), part) for name, part in columns.items()],
        transformer_weights={
            "spectrum": math.sqrt(total / n_spectrum),
            "modulation": math.sqrt(total / n_modulation),
        },
    )


def table(clips: akit.Clips) -> np.ndarray:
    """Return the columns of both families side by side: float64 (clips, columns)."""
    return np.concatenate([clips["spectrum"], clips["modulation"]], axis=1).astype(np.float64)


def train(fold: akit.Fold, s: Settings) -> akit.FitResult:
    x, labels = table(fold.train), fold.train.labels
    n_components = s.n_components if s.n_components < 1 else min(int(s.n_components), *x.shape)
    classifier = LogisticRegression(C=s.C, tol=1e-6, max_iter=2000)
    if labels.ndim == 2:  # a multi-label task
        classifier = OneVsRestClassifier(classifier)  # takes no weights of clips
    solver = "covariance_eigh" if len(x) > x.shape[1] else "full"  # a long step would delay Ctrl-C
    widths = fold.train["spectrum"].shape[1], fold.train["modulation"].shape[1]
    model = make_pipeline(standardized(*widths, s.clip), PCA(n_components, svd_solver=solver), classifier)
    weighted = labels.ndim == 1 and (fold.train.weights != 1).any()
    weights = {"logisticregression__sample_weight": fold.train.weights / fold.train.weights.mean()} if weighted else {}
    with threadpool_limits(1, "blas"):  # with more threads on busy cores: 16 s instead of 0.4 s
        return akit.FitResult(model.fit(x, labels, **weights), uses=frozenset({"weights"} if labels.ndim == 1 else ()))


def predict(model: Pipeline, clips: akit.Clips, s: Settings) -> np.ndarray:
    return akit.class_probabilities(model, table(clips), len(clips.classes))


def search(trial: "optuna.Trial") -> dict[str, Any]:
    return {
        "n_components": trial.suggest_float("n_components", 0.8, 0.995),
        "clip": trial.suggest_float("clip", 1.5, 10, log=True),
        "C": trial.suggest_float("C", 1e-3, 10, log=True),
    }
