"""Sound event detection as winners of BirdCLEF do it: an image network of timm under an attention head.

Waves are turned into mel spectrograms, one channel for each window length; bands are normalized, an image network makes
a map, bands are pooled, and a head gives each class a logit and an attention in each frame. The output for a clip is
the mean over frames weighted by the attention, or the largest frame. Windows of recordings can be predicted from inputs
that overlap (`overlap`).

Source: the code of three winners, whose networks, losses and augmentations the settings are taken from:
  - 2023, 1st: github.com/VSydorskyy/BirdCLEF_2023_1st_place @ 381134e (eca_nfnet_l0 and ConvNeXts under GeM and
    attention; focal loss; balanced sampling; recorded background without calls; three masks of each kind; SWA).
  - 2025, 2nd: github.com/VSydorskyy/BirdCLEF_2025_2nd_place (eca_nfnet_l0, tf_efficientnetv2_s; CEUR-WS Vol-4038,
    paper 256).
  - 2026, 2nd: github.com/FlorentinGe/Birdclef2026-2ndplace @ 23e9f9e (many backbones; mixup of waves with the labels
    of both; SWA; overlapping windows as in the 1st place of 2025; rolled views).
  The head is that of PANNs (Kong et al. 2020); the loss of the largest frame, at half the weight, is as in
  kozistr.tech/2023-05-26-birdcelf-2023 (24th of 2023), which took it from 2021.
Data: any; recordings above all.
Published: none; it reproduces a family of solutions, not one of them, nor a score.
Reproduce:
  - `akit recipe run sed_cnn --set backbone=eca_nfnet_l0 --set loss=focal --set balanced=true --set swa=20`
Differs: see "What all recipes share" in docs/recipes.md; and:
  - One stage, without pre-training on the recordings of earlier years. `--pseudo` adds pseudo-labels.
  - Bands are normalized over the batch, as in PANNs; the 1st place of 2023 normalizes each spectrogram by itself.
  - Frames of overlapping inputs are averaged as logits, which fits tasks of one label too; there as probabilities.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt, model_validator
from torch import nn

import acoustic_kit as akit
from acoustic_kit.features.weights import TENSORS, find_weights
from acoustic_kit.nn import BandPooling, ClipMasks, FrameAttentionHead, FrameNet, FrameOutput, MelChannels, TimmBackbone
from acoustic_kit.nn.timm_backbone import timm_weights_name
from acoustic_kit.prediction import clips_at
from acoustic_kit.recipe.end_to_end_audio.random_apply import one_of
from acoustic_kit.recipe.end_to_end_audio.wave_noise import COLORS, background_noise, colored_noise, white_noise
from acoustic_kit.training import (
    Augment,
    Batches,
    LossName,
    MixupLabels,
    Phase,
    Window,
    class_balanced,
    cosine,
    forward_frames,
    make_loss,
    time_shift,
    warmup,
    with_frame_loss,
)

if TYPE_CHECKING:
    import optuna

UNLABELED = "unlabeled"
MOST_BACKGROUNDS = 256  # training clips that are read as background
NOISE_RATIO = 15.0  # dB by which white and pink noise are below the clip


class Settings(akit.Settings):
    sample_rate: int = Field(32000, ge=4000, description="Hz; clips are resampled to it")
    seconds: float = Field(5.0, gt=0, description="length of the input; longer clips are cut, shorter ones repeated")
    short: Literal["repeat", "halves"] = Field(
        "repeat",
        description="halves: shorter clips only fill a half, a fourth, … of the input, in batches of their own",
    )
    spectrogram: Literal["logmel", "pcen"] = Field("logmel", description="decibels, or a trainable PCEN")
    n_fft: tuple[PositiveInt, ...] = Field((2048,), min_length=1, description="samples in each channel's window")
    hop_length: int = Field(512, ge=1, description="samples from one frame to the next")
    n_mels: int = Field(128, ge=8, description="mel bands")
    fmin: float = Field(20.0, ge=0, description="Hz, lower end of the bands")
    fmax: float | None = Field(None, gt=0, description="Hz, upper end; none: half the sample rate")
    backbone: str = Field(
        "tf_efficientnet_b0.ns_jft_in1k", description="any of timm: eca_nfnet_l0, tf_efficientnetv2_s, vit_tiny_…"
    )
    pretrained: bool = Field(True, description="start from weights, by default those that timm publishes on the hub")
    weights: str | None = Field(None, description="other weights of the backbone: a folder or a file of safetensors")
    drop_path: float = Field(0.0, ge=0, lt=1, description="fraction of residual branches that are dropped")
    pooling: Literal["mean", "gem"] = Field("gem", description="of bands: their mean, or generalized mean")
    hidden: int = Field(512, ge=1, description="width of the head's hidden layer")
    dropout: float = Field(0.5, ge=0, lt=1, description="before and after the head's hidden layer")
    clip_output: Literal["attention", "max"] = Field(
        "attention", description="of the frames of a clip: mean weighted by attention, or the largest"
    )
    loss: LossName = Field("auto", description="auto: cross entropy; bce if clips have several labels")
    frame_loss: float = Field(0.5, ge=0, description="weight of the loss of the largest frame; of the clip's it is 1")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="fraction of the target spread over all classes")
    balanced: bool = Field(False, description="draw clips so that classes come equally often")
    mixup: float = Field(0.5, ge=0, description="α of mixup's Beta distribution")
    mixup_labels: MixupLabels = Field("union", description="targets of mixed clips: the larger of both, or weighted")
    mask_bands: int = Field(10, ge=0, description="width of a mask of bands is below this")
    mask_frames: int = Field(20, ge=0, description="width of a mask of frames is below this")
    n_masks: int = Field(3, ge=1, description="masks of bands, and as many of frames, per clip")
    shift: float = Field(1.0, ge=0, le=1, description="clips are rolled in time by up to ± half this fraction")
    background: str | None = Field(
        None, description="recordings to add: a folder, or unlabeled: training clips without a label"
    )
    background_share: float = Field(0.5, ge=0, le=1, description="fraction of clips with background, 3 to 30 dB below")
    noise: float = Field(0.0, ge=0, le=1, description="fraction of clips with white or pink noise")
    epochs: int = Field(30, ge=1, description="passes over the training clips")
    warm_up_epochs: int = Field(1, ge=0, description="with a rate that rises linearly from 0")
    batch_size: int = Field(32, ge=1, description="clips per step")
    lr: float = Field(1e-3, gt=0, description="highest rate of AdamW, which then falls along a cosine")
    weight_decay: float = Field(1e-2, ge=0, description="AdamW's weight decay")
    ema: float = Field(0.0, ge=0, lt=1, description="decay of the average of the weights, which predicts; 0: none")
    swa: int | None = Field(None, ge=1, description="first epoch whose weights are averaged, instead of ema")
    micro_batch: int | None = Field(None, ge=1, description="clips in memory at once; gradients are accumulated")
    window: Window = Field("random", description="part of longer clips that is trained on: random, first or loudest")
    crops: int | None = Field(None, ge=1, description="crops of long clips that are averaged; 12, but 1 of the loudest")
    shifts: tuple[Annotated[float, Field(gt=0)], ...] = Field((), description="s by which views are rolled, both ways")
    overlap: int = Field(1, ge=1, description="inputs that begin in each window of a recording; frames are averaged")

    @model_validator(mode="after")
    def _fits(self) -> "Settings":
        if self.ema and self.swa:
            raise ValueError("weights are averaged by ema or by swa, not by both")
        if self.weights and not self.pretrained:
            raise ValueError("weights are given and pretrained is false: leave one of the two out")
        return self

    @property
    def samples(self) -> int:
        """Length of the input."""
        return round(self.seconds * self.sample_rate)


FAST = akit.Fast(
    clips_per_class=8,
    folds=2,
    settings={
        "sample_rate": 8000, "seconds": 1.0, "n_fft": (512,), "hop_length": 128, "n_mels": 32, "pretrained": False,
        "backbone": "test_efficientnet", "hidden": 64, "dropout": 0.1, "mixup": 0.0, "n_masks": 1, "mask_bands": 4,
        "mask_frames": 8, "epochs": 15, "batch_size": 8, "lr": 3e-3,
    },
)  # fmt: skip


def search(trial: "optuna.Trial") -> dict[str, Any]:
    return {
        "lr": trial.suggest_float("lr", 1e-4, 3e-3, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-4, 1e-1, log=True),
        "mixup": trial.suggest_float("mixup", 0.0, 2.0),
        "dropout": trial.suggest_float("dropout", 0.0, 0.5),
        "frame_loss": trial.suggest_float("frame_loss", 0.0, 1.0),
    }


def features(s: Settings) -> dict[str, akit.Feature]:
    return {"wave": akit.Wave(s.sample_rate, trim_top_db=None)}


def needs(s: Settings) -> akit.Needs:
    return akit.Needs(weights=partial(check_settings, s))


def check_settings(s: Settings) -> None:
    """Raise AkitError if timm has no such backbone for these spectrograms, or weights or background are missing."""
    with torch.device("meta"):
        build_model(s, 1)
    if s.pretrained:
        pretrained_weights(s)
    if s.background not in (None, UNLABELED):
        clips_at([Path(s.background)])


def pretrained_weights(s: Settings) -> tuple[Path, str]:
    """Return the file of the weights that training starts from, and their description."""
    how = "--set weights=FOLDER. --set pretrained=false starts from random weights."
    if s.weights is not None and Path(s.weights).is_file():
        if Path(s.weights).suffix != ".safetensors":
            raise akit.AkitError(
                f"{s.weights} is not a .safetensors file; other formats can run code and are not read."
            )
        return Path(s.weights), s.weights
    name = s.weights or timm_weights_name(s.backbone)
    if name is None:
        raise akit.AkitError(f"timm publishes no weights of {s.backbone} on the hub. Pass others: {how}")
    found = find_weights(name, how=how)
    return found.folder / TENSORS, found.describe()


def batches(s: Settings) -> Batches:
    halves = s.short == "halves"
    return Batches("wave", s.batch_size, s.samples, "wrap", halves=halves, window=s.window, crops=s.crops)


def training_batches(s: Settings, clips: akit.Clips) -> Batches:
    """Return batches of clips with background and noise added, rolled along time, and mixed."""
    augment: list[Augment] = [time_shift(s.shift)] if s.shift else []
    if s.background is not None:
        op = background_noise(backgrounds(s, clips), low=3, high=30)
        augment.append(one_of("background", {"background": op}, s.background_share))
    noises = {"white": white_noise(NOISE_RATIO), "pink": colored_noise(COLORS["pink"], NOISE_RATIO)}
    augment.append(one_of("noise", noises if s.noise else {}, s.noise))
    weights = class_balanced if s.balanced else None
    return replace(batches(s), augment=augment, mixup=s.mixup, mixup_labels=s.mixup_labels, weights=weights)


def backgrounds(s: Settings, clips: akit.Clips) -> Sequence[torch.Tensor]:
    """Return waves of a folder, or of training clips without a label, at most 256 of these."""
    if s.background != UNLABELED:
        wave = features(s)["wave"]
        return [torch.from_numpy(wave.compute(path)) for path in clips_at([Path(s.background)]).values()]
    ids = clips.rows.filter(clips.rows["label"].list.len() == 0)["id"].to_list()
    if not ids:
        raise akit.AkitError("background=unlabeled: all training clips have a label. Use --set background=FOLDER.")
    chosen = ids[:: -(-len(ids) // MOST_BACKGROUNDS)]
    return [torch.from_numpy(wave) for wave in clips.features["wave"].read_many(chosen)]


class SedCnn(FrameNet):
    """Waves (clips, samples) → logits (clips, classes); see `FrameNet`."""

    def __init__(self, s: Settings, n_classes: int) -> None:
        super().__init__(s.clip_output)
        self.mel = MelChannels(
            s.sample_rate, s.n_fft, s.hop_length, s.n_mels, scale=s.spectrogram, fmin=s.fmin, fmax=s.fmax
        )
        self.masks = ClipMasks(s.mask_bands, s.mask_frames, s.n_masks)
        size = s.n_mels, 1 + s.samples // s.hop_length
        self.backbone = TimmBackbone(s.backbone, len(s.n_fft), size, drop_path=s.drop_path)
        self.pooling = BandPooling(s.pooling)
        self.head = FrameAttentionHead(self.backbone.width, n_classes, hidden=s.hidden, dropout=s.dropout)

    def frame_output(self, waves: torch.Tensor) -> FrameOutput:
        return self.head(self.pooling(self.backbone(self.masks(self.mel(waves)))))


def build_model(s: Settings, n_classes: int) -> nn.Module:
    return SedCnn(s, n_classes).to(memory_format=torch.channels_last)


def train(fold: akit.Fold, s: Settings) -> akit.FitResult:
    net = build_model(s, fold.n_classes)
    notes = [f"{s.backbone} started from random weights"]
    if s.pretrained:
        path, name = pretrained_weights(s)
        net.backbone.load_pretrained(path)
        notes = [f"{s.backbone} started from {name}"]
    return akit.fit(
        fold,
        "sed",
        net,
        batches=training_batches(s, fold.train),
        phases=[Phase(s.epochs, warmup(cosine(s.lr), s.warm_up_epochs))],
        optimizer=partial(torch.optim.AdamW, lr=s.lr, weight_decay=s.weight_decay),
        loss=with_frame_loss(make_loss(s.loss, fold.train.task, s.label_smoothing), s.frame_loss),
        ema=s.ema or None,
        swa=s.swa,
        micro_batch=s.micro_batch,
    ).after(notes=notes)


def predict(model: SedCnn, clips: akit.Clips, s: Settings) -> np.ndarray:
    seconds = [0.0, *(sign * shift for shift in s.shifts for sign in (-1, 1))]
    views = [partial(torch.roll, shifts=round(shift * s.sample_rate), dims=-1) for shift in seconds]
    if s.overlap > 1:
        return forward_frames(model, clips, batches(s), s.overlap, views)
    return akit.forward(model, clips, batches(s), views)
