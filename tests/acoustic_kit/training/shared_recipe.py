"""A recipe without dropout: several processes must train it as one does. The tests copy it into a workspace."""

from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import nn

import acoustic_kit as akit
from acoustic_kit.training import Batches, Phase, Plateau, cosine, spec_augment


class Settings(akit.Settings):
    batch_size: int = 7
    epochs: int = 2
    norm: bool = True
    mixup_by: Literal["clip", "batch"] = "clip"
    keep: str = "last"
    sam: float | None = None
    ema: float | None = None
    clip_norm: float | None = None
    micro_batch: int | None = None
    plateau: bool = False
    fails_in: int | None = None  # the process whose training fails


def features(s: Settings) -> dict[str, akit.Feature]:
    return {"mel": akit.LogMel(akit.Wave(sample_rate=8000), 512, 256, n_mels=16)}


def batches(s: Settings) -> Batches:
    augment = [spec_augment(4, 4)]
    return Batches("mel", s.batch_size, 12, "wrap", channel_axis=True, augment=augment, mixup=0.4, mixup_by=s.mixup_by)


def build_model(s: Settings, n_classes: int) -> nn.Module:
    norm = nn.BatchNorm2d(6) if s.norm else nn.Identity()
    last = nn.BatchNorm1d(6) if s.norm else nn.Identity()
    body = [nn.Conv2d(1, 6, 3), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), last]
    return nn.Sequential(*body, nn.Linear(6, n_classes))


def train(fold: akit.Fold, s: Settings) -> nn.Module:
    torch.manual_seed(fold.seed)
    if s.fails_in is not None and torch.distributed.get_rank() == s.fails_in:
        raise akit.AkitError("this process fails, and says so")
    schedule = Plateau(0.02, patience=1) if s.plateau else cosine(0.02)
    return akit.fit(
        fold,
        "net",
        build_model(s, fold.n_classes),
        batches=batches(s),
        phases=[Phase(s.epochs, schedule, patience=3 if s.plateau else None)],
        optimizer=partial(torch.optim.AdamW, lr=0.02, eps=1e-3),  # with a small ε, Adam makes steps of rounding errors
        keep=s.keep,
        sam=s.sam,
        ema=s.ema,
        clip_norm=s.clip_norm,
        micro_batch=s.micro_batch,
    )


def predict(model: nn.Module, clips: akit.Clips, s: Settings) -> np.ndarray:
    return akit.forward(model, clips, batches(s))
