"""Logistic regression, ridge or nearest neighbors on stored embeddings.

Source: akit's own baseline, as linear probes in many papers; seconds to a minute once embeddings are stored.
Published: none.
Differs: the strength of the head is chosen by inner folds of the training clips, which keep groups whole, by log loss.
  Logistic regression predicts with its own probabilities. The outputs of ridge, and the logarithms of the neighbors'
  votes, become probabilities by a softmax at a temperature, in multi-label tasks by sigmoids of a slope and an offset,
  which are fitted to held-out clips of the inner folds.
One thread for each inner fold makes the scores the same with any number of cores.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, PositiveFloat
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

import acoustic_kit as akit
from acoustic_kit.blending.nested import nested_folds
from acoustic_kit.recipe.heads import (
    EmbeddingSettings,
    Examples,
    LinearModel,
    Logistic,
    NeighborModel,
    Neighbors,
    Ridge,
    choose,
    clipped_scaler,
    probabilities,
    side_by_side,
)

if TYPE_CHECKING:
    import optuna

HEADS = {"logistic": Logistic, "ridge": Ridge, "knn": Neighbors}
STRENGTHS = {"logistic": "C", "ridge": "α", "knn": "k"}


class Settings(EmbeddingSettings):
    head: Literal["logistic", "ridge", "knn"] = Field(
        "logistic", description="logistic regression, ridge on the targets, or nearest neighbors by cosine similarity"
    )
    strengths: tuple[PositiveFloat, ...] = Field(
        (), description="of C (logistic), α (ridge) or k (knn), one is chosen; none: a wide range of the head's own"
    )
    inner_folds: int = Field(3, ge=2, description="folds of the training clips that choose the strength")


SEEDED = False  # nothing is random: every seed gives the same run
FAST = akit.Fast(clips_per_class=8, folds=2, settings={"models": (), "stats": True, "inner_folds": 2})


def features(s: Settings) -> dict[str, akit.Feature]:
    embeddings = {f"embed{i}": akit.Embed(model, layer=s.layer, pool=s.pool) for i, model in enumerate(s.models, 1)}
    return embeddings | ({"stats": akit.Stats()} if s.stats else {})


@dataclass(frozen=True)
class Model:
    scaler: Pipeline
    head: LinearModel | NeighborModel


def inner_folds(clips: akit.Clips, n: int) -> np.ndarray:
    """Return the inner fold of each clip, int (clips,), which keeps groups whole if there are several.

    It is -1 for extra clips and pseudo-labels, which are trained on only.
    """
    folds = nested_folds(clips.labels, clips.groups, seed=0, n_folds=n)
    if not folds.any():
        folds = np.arange(len(clips)) % n
    return np.where((clips.rows["split"] == "train").to_numpy() & ~clips.is_pseudo, folds, -1)


def train(fold: akit.Fold, s: Settings) -> akit.FitResult:
    clips, kind = fold.train, HEADS[s.head]
    x = side_by_side(clips)
    with threadpool_limits(1):  # more threads would wait for each other on busy cores
        scaler = clipped_scaler(s.clip).fit(x)
        examples = Examples.of(clips, scaler.transform(x))
        folds = inner_folds(clips, s.inner_folds)
        chosen = choose(kind, examples, s.strengths or kind.STRENGTHS, folds)
        model = Model(scaler, kind(examples).model(chosen.strength, chosen.slope, chosen.offset))
    note = f"fold {fold.name}: {STRENGTHS[s.head]} = {chosen.strength:.3g}"
    return akit.FitResult(model, notes=(note,), uses=kind.USES)


def predict(model: Model, clips: akit.Clips, s: Settings) -> np.ndarray:
    with threadpool_limits(1):
        x = model.scaler.transform(side_by_side(clips))
        return probabilities(model.head.logits(x), clips.task)


def search(trial: "optuna.Trial") -> dict[str, Any]:
    return {
        "head": trial.suggest_categorical("head", ["logistic", "ridge", "knn"]),
        "clip": trial.suggest_float("clip", 1.5, 10, log=True),
    }
