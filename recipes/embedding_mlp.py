"""A small network with mixup on stored embeddings.

Source: akit's own baseline; seconds per fold once embeddings are stored.
Published: none.
Differs: the embeddings are fixed, so that clips are mixed after the model, not before it.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

import acoustic_kit as akit
from acoustic_kit.recipe.heads import EmbeddingSettings, side_by_side
from acoustic_kit.training import Batches, LossName, MixupLabels, Phase, make_loss, one_cycle

if TYPE_CHECKING:
    import optuna


class Settings(EmbeddingSettings):
    hidden: int = Field(512, ge=1, description="width of the hidden layers")
    layers: int = Field(1, ge=1, le=2, description="hidden layers")
    dropout: float = Field(0.5, ge=0, lt=1, description="before each layer; half of it on the embeddings")
    mixup: float = Field(0.4, ge=0, description="α of mixup's Beta distribution")
    mixup_labels: MixupLabels = Field("weighted", description="targets of mixed clips; union: the larger of both")
    loss: LossName = Field("auto", description="auto: cross entropy; bce if clips have several labels")
    label_smoothing: float = Field(0.05, ge=0, lt=1, description="fraction of the target spread over all classes")
    epochs: int = Field(40, ge=1, description="passes over the training clips")
    batch_size: int = Field(64, ge=1, description="clips per step")
    lr: float = Field(1e-3, gt=0, description="highest rate of the one-cycle schedule")
    weight_decay: float = Field(1e-2, ge=0, description="AdamW's weight decay")
    ema: float = Field(0.99, ge=0, lt=1, description="decay of the average of the weights, which predicts")


FAST = akit.Fast(clips_per_class=8, folds=2, settings={"models": (), "stats": True, "epochs": 20, "batch_size": 8})


def search(trial: "optuna.Trial") -> dict[str, Any]:
    return {
        "lr": trial.suggest_float("lr", 2e-4, 5e-3, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-4, 1.0, log=True),
        "dropout": trial.suggest_float("dropout", 0.0, 0.7),
        "mixup": trial.suggest_float("mixup", 0.0, 1.0),
        "layers": trial.suggest_int("layers", 1, 2),
    }


def features(s: Settings) -> dict[str, akit.Feature]:
    embeddings = {f"embed{i}": akit.Embed(model, layer=s.layer, pool=s.pool) for i, model in enumerate(s.models, 1)}
    return embeddings | ({"stats": akit.Stats()} if s.stats else {})


def batches(s: Settings, clips: akit.Clips) -> Batches:
    """Return batches of the first feature, with the others as a second input, each clip mixed with another."""
    first, *others = sorted(clips.features)
    return Batches(
        first,
        s.batch_size,
        clips.features[first].shape(clips.ids[0])[0],
        side=partial(side_by_side, names=others) if others else None,
        mixup=s.mixup,
        mixup_labels=s.mixup_labels,
    )


class Standardize(LazyModuleMixin, nn.Module):
    """Standardize and clip columns by the means and deviations of its first input, which are those of training clips.

    The number of columns is that of this input, or of the stored weights.
    """

    cls_to_become = None  # it stays of this class once it has its columns
    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit
        self.register_buffer("mean", nn.UninitializedBuffer())
        self.register_buffer("scale", nn.UninitializedBuffer())

    def initialize_parameters(self, x: torch.Tensor) -> None:
        if self.has_uninitialized_params():
            for buffer, value in ((self.mean, x.mean(dim=0)), (self.scale, x.std(dim=0, correction=0))):
                buffer.materialize(value.shape)
                buffer.copy_(value)
            self.scale[self.scale == 0] = 1  # constant columns

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ((x - self.mean) / self.scale).clamp(-self.limit, self.limit)


class EmbeddingMlp(nn.Module):
    """Embeddings (clips, columns), in one or several parts → logits (clips, classes)."""

    def __init__(self, s: Settings, n_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [Standardize(s.clip), nn.Dropout(s.dropout / 2)]
        for _ in range(s.layers):
            layers += [nn.LazyLinear(s.hidden), nn.GELU(), nn.Dropout(s.dropout)]
        self.body = nn.Sequential(*layers, nn.Linear(s.hidden, n_classes))

    def forward(self, *parts: torch.Tensor) -> torch.Tensor:
        return self.body(torch.cat(parts, dim=1))


def build_model(s: Settings, n_classes: int) -> EmbeddingMlp:
    return EmbeddingMlp(s, n_classes)


def train(fold: akit.Fold, s: Settings) -> akit.FitResult:
    torch.manual_seed(fold.seed)
    net = build_model(s, fold.n_classes).eval()
    with torch.no_grad():
        net(torch.from_numpy(side_by_side(fold.train)))  # finds the number of columns and their scale
    return akit.fit(
        fold,
        "mlp",
        net,
        batches=batches(s, fold.train),
        phases=[Phase(s.epochs, one_cycle(s.lr))],
        optimizer=partial(torch.optim.AdamW, lr=s.lr, weight_decay=s.weight_decay),
        loss=make_loss(s.loss, fold.train.task, s.label_smoothing),
        ema=s.ema or None,
    )


def predict(model: EmbeddingMlp, clips: akit.Clips, s: Settings) -> np.ndarray:
    return akit.forward(model, clips, batches(s, clips))
