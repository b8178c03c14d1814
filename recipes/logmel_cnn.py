"""A small residual CNN on log-mel spectrograms, for two CPU cores.

Source: akit's own baseline; ten minutes on a laptop for ESC-10's five folds.
Published: none.
Differs: from scratch, no outside data.
"""

import math
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

import acoustic_kit as akit
from acoustic_kit.training import (
    Batches,
    ClipRng,
    LossName,
    MixupLabels,
    Phase,
    Window,
    decibel_power,
    input_length,
    make_loss,
    one_cycle,
    spec_augment,
    time_shift,
)

if TYPE_CHECKING:
    import optuna


class Settings(akit.Settings):
    sample_rate: int = Field(22050, ge=4000, description="Hz; clips are resampled to it")
    n_mels: int = Field(64, ge=1, description="mel bands")
    frames: int = Field(216, ge=1, description="length that clips are repeated or cut to, in hops of 512 samples")
    short: Literal["fit", "halves", "repeat"] = Field(
        "fit",
        description="if all training clips are shorter: fit the input to the longest, or repeat them to `frames`; "
        "halves: fit it too, and group clips of like length in batches of a half, a fourth, … of it",
    )
    window: Window = Field("random", description="part of longer clips that is trained on: random, first or loudest")
    crops: int | None = Field(None, ge=1, description="crops of long clips that are averaged; 12, but 1 of the loudest")
    width: int = Field(24, ge=1, description="channels of the first stage")
    mixup: float = Field(0.3, ge=0, description="α of mixup's Beta distribution")
    mixup_labels: MixupLabels = Field("weighted", description="targets of mixed clips; union: the larger of both")
    loss: LossName = Field("auto", description="auto: cross entropy; bce if clips have several labels")
    label_smoothing: float = Field(0.05, ge=0, lt=1, description="fraction of the target spread over all classes")
    epochs: int = Field(66, ge=1, description="passes over the training clips")
    batch_size: int = Field(32, ge=1, description="clips per step")
    lr: float = Field(4e-3, gt=0, description="highest rate of the one-cycle schedule")
    ema: float = Field(0.99, ge=0, lt=1, description="decay of the average of the weights, which predicts")
    weight_decay: float = Field(1e-2, ge=0, description="AdamW's weight decay")
    micro_batch: int | None = Field(None, ge=1, description="clips in memory at once; gradients are accumulated")


FAST = akit.Fast(clips_per_class=8, folds=2, settings={"epochs": 6, "width": 8, "batch_size": 8})


def search(trial: "optuna.Trial") -> dict[str, Any]:
    return {
        "lr": trial.suggest_float("lr", 1e-3, 1e-2, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-4, 1e-1, log=True),
        "mixup": trial.suggest_float("mixup", 0.0, 1.0),
        "label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.2),
        "width": trial.suggest_categorical("width", [16, 24, 32]),
    }


def features(s: Settings) -> dict[str, akit.Feature]:
    return {"mel": akit.LogMel(akit.Wave(sample_rate=s.sample_rate), 2048, 512, n_mels=s.n_mels)}


def batches(s: Settings, frames: int) -> Batches:
    """Return batches with shorter clips repeated; each clip is rolled along time, masked and mixed with another."""

    def mask(x: torch.Tensor, rng: ClipRng) -> torch.Tensor:
        return spec_augment(s.n_mels // 6, x.shape[-1] // 6, n_band_masks=2, n_frame_masks=2)(x, rng)

    return Batches(
        "mel",
        s.batch_size,
        frames,
        "wrap",
        halves=s.short == "halves",
        channel_axis=True,
        augment=[time_shift(), mask],
        mixup=s.mixup,
        mixup_labels=s.mixup_labels,
        window=s.window,
        power=decibel_power,
        crops=s.crops,
    )


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with a shortcut; `stride` is that of bands and frames."""

    def __init__(self, n_in: int, n_out: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True),
            nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False), nn.BatchNorm2d(n_out),
        )  # fmt: skip
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(stride, ceil_mode=True), nn.Conv2d(n_in, n_out, 1, bias=False), nn.BatchNorm2d(n_out)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class LogMelCnn(nn.Module):
    """(clips, 1, mels, frames) in decibels → logits (clips, classes)."""

    frames: torch.Tensor  # int64 scalar, length of the inputs that it was trained on

    def __init__(self, s: Settings, n_classes: int) -> None:
        super().__init__()
        w = s.width
        self.register_buffer("frames", torch.tensor(s.frames))
        self.scale = nn.BatchNorm1d(s.n_mels)
        self.stem = nn.Sequential(nn.Conv2d(1, w, 5, 2, 2, bias=False), nn.BatchNorm2d(w), nn.ReLU(inplace=True))
        self.stages = nn.Sequential(
            ResidualBlock(w, w, (1, 2)),
            ResidualBlock(w, 2 * w, (2, 2)),
            ResidualBlock(2 * w, 4 * w, (2, 2)),
            ResidualBlock(4 * w, 8 * w, (2, 2)),
        )
        bands = math.ceil(s.n_mels / 16)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(8 * w * bands, n_classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bands = self.scale(x[:, 0])[:, None]  # each band by its own mean and spread
        maps = self.stages(self.stem(bands))  # (clips, channels, bands / 16, frames / 32)
        return self.head(
            (maps.mean(dim=3) + maps.amax(dim=3)).flatten(1)
        )  # bands stay apart: position on the mel scale matters


def build_model(s: Settings, n_classes: int) -> LogMelCnn:
    return LogMelCnn(s, n_classes).to(memory_format=torch.channels_last)  # a third faster on CPUs


def train(fold: akit.Fold, s: Settings) -> akit.FitResult:
    torch.manual_seed(fold.seed)
    net = build_model(s, fold.n_classes)
    if s.short != "repeat":
        net.frames.fill_(input_length(fold.train, "mel", s.frames))
    return akit.fit(
        fold,
        "cnn",
        net,
        batches=batches(s, int(net.frames)),
        phases=[Phase(s.epochs, one_cycle(s.lr))],
        optimizer=partial(torch.optim.AdamW, lr=s.lr, weight_decay=s.weight_decay),
        loss=make_loss(s.loss, fold.train.task, s.label_smoothing),
        ema=s.ema or None,
        micro_batch=s.micro_batch,
    )


def predict(model: LogMelCnn, clips: akit.Clips, s: Settings) -> np.ndarray:
    return akit.forward(model, clips, batches(s, int(model.frames)))
