"""MobileNetV2 on mel spectrograms, beside 350 principal components of 1,133 summary features.

Two stages: the network is trained on mel spectrograms alone, then together with the components. Each stage has three
phases: A cycles the rate, B starts from A's best epoch and C from B's, both with a rate that falls on a plateau.

Source: github.com/sainathadapa/kaggle-freesound-audio-tagging @ f2a05ac (code and README).
Data: Freesound 2018.
Published: Freesound General-Purpose Audio Tagging 2018, 8th place: MAP@3 0.943289 on the private board. The author's
  log has 0.939 for what the code does, and 0.944 for stage 1 alone (`--set n_pca=0`) as well as for stage 2 with the
  class weights that the code computes and does not use (`--set balanced=true`).
Reproduce: the geometric mean of all 300 predictions of a clip (ten folds, six lengths, five tries):
  - `akit init work --data FSDKaggle2018 --metric map3`
  - `akit -C work recipe run freesound_mobilenet_pca`
  - `akit -C work blend --runs freesound_mobilenet_pca --by fold --method geometric --name freesound`
  - `akit -C work submission check work/submissions/freesound.csv`
Differs: see "What all recipes share" in docs/recipes.md; and:
  As published, though the score is biased upward, with the honest variant as an option:
  - Each phase keeps the epoch that was best on the validation clips: `--set checkpoint=last`.
  - The components are fitted on the clips of all folds: `--set pca_fit=fold`.
  Not reproduced:
  - pretrained: ImageNet's weights are torchvision's, not Keras', because the network is. They were trained with batch
    norms of epsilon 1e-5 and run with 1e-3 here, as Keras has it. If they cannot be downloaded, the network starts from
    random ones, and the record says so.
  - Mel bands are taken from the trimmed wave at 44.1 kHz, in windows as long, so that one wave serves both features;
    the original resampled it to 22.05 kHz first. They agree to 0.002 dB on average, but for the highest five of the 64,
    which its resampler fades out.
  - A crop may also begin at the last possible frame, which the original's draw leaves out.
  - The two convolutions before the backbone are reinitialized if their output is zero for all inputs, as for one start
    in 64: such a network learns nothing.
  - Adam corrects its bias before it adds ε, as torch has it; bf16 on GPUs that have it, for speed.
  - Predictions are geometric means over lengths and tries, and a run's own are their arithmetic mean over folds, as for
    every recipe. `--by fold --method geometric` blends them as the original did.
  - The folds are of the same seed, drawn by the scikit-learn that is installed; since 0.22 it draws others.
  - The three test clips without sound get the commonest classes, as every clip does that cannot be read; there the
    sample submission's.
"""

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import nn
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

import acoustic_kit as akit
from acoustic_kit.nn import imagenet_weights, load_imagenet
from acoustic_kit.nn.same_padding import use_same_padding
from acoustic_kit.training import Batch, Batches, BatchRng, Phase, Plateau, Progress, Schedule, step_decay
from acoustic_kit.training.augment import random_erasing, time_reversal, time_slide

if TYPE_CHECKING:
    import optuna

LOUDER = 20 * math.log10(2)  # dB: windows of twice as many samples, at 44.1 kHz, hold twice the amplitude
LOWEST, RANGE = -90.5, 129.71  # dB, of the original's training clips


class Settings(akit.Settings):
    n_pca: int = Field(350, ge=0, description="principal components of the summary features; 0 is stage 1 alone")
    pca_fit: Literal["all", "fold"] = Field(
        "all", description="clips that they are fitted on: of all folds, or the fold's"
    )
    lengths: tuple[PositiveInt, ...] = Field(
        (263, 363, 463, 563, 663, 763),
        min_length=1,
        description="frames of 10 ms for validation and prediction; training draws from the first to below the last",
    )
    tries: int = Field(5, ge=1, description="crops of each length for a prediction")
    shift: float = Field(0.6, ge=0, le=1, description="clips are shifted in time by up to ± this fraction")
    reversal: float = Field(0.5, ge=0, le=1, description="fraction of clips that are reversed")
    erasing: float = Field(0.0, ge=0, le=1, description="fraction of clips with an erased rectangle; 0.5 was meant")
    mixup_mel: float = Field(1.0, ge=0, description="α of mixup's Beta distribution in stage 1; one λ per clip")
    mixup_pca: float = Field(0.5, ge=0, description="the same in stage 2")
    balanced: bool = Field(False, description="stage 2 weighs clips so that classes count equally, as was meant")
    batch_size: int = Field(64, ge=1, description="clips per step")
    epochs: int = Field(100, ge=1, description="of phase A, and at most of B and of C")
    patience: int = Field(10, ge=1, description="B and C end after so many epochs without a better validation loss")
    lr_low: float = Field(1e-4, gt=0, description="Adam's lowest rate in phase A, which takes an epoch to the highest")
    lr_high: float = Field(1e-3, gt=0, description="Adam's highest rate in phase A, which takes an epoch to the lowest")
    lr_b: float = Field(1e-5, gt=0, description="first rate of phase B; a tenth after 3 epochs without improvement")
    lr_c: float = Field(1e-4, gt=0, description="first rate of phase C, likewise")
    checkpoint: Literal["best", "last"] = Field("best", description="epoch that each phase hands on: best, or last")
    last_epochs: int = Field(
        15, ge=1, description="of B and C with checkpoint=last; a tenth of the rate after each third"
    )
    pretrained: bool = Field(True, description="start from ImageNet's weights, which torchvision downloads")
    backbone_momentum: float = Field(0.001, gt=0, le=1, description="of a batch, in MobileNetV2's running statistics")
    norm_momentum: float = Field(0.01, gt=0, le=1, description="and in all others; 0.1 for both where steps are few")
    width: float = Field(1.0, gt=0, description="of MobileNetV2, as a multiple")
    hidden: tuple[PositiveInt, PositiveInt] = Field((1536, 384), description="widths of the two hidden layers")
    micro_batch: int | None = Field(None, ge=1, description="clips in memory at once; gradients are accumulated")


WRITE_UP = {
    "erasing": (
        "0.5, never ran",
        "the README names random erasing, and the code never calls it; `--set erasing=0.5` is how it was meant",
    ),
    "balanced": (
        "true, never used",
        "class weights for stage 2 are computed and not passed on; `--set balanced=true` uses them",
    ),
}
FAST = akit.Fast(
    clips_per_class=8,
    folds=2,
    settings={
        "n_pca": 4, "lengths": (30, 40), "tries": 2, "epochs": 8, "last_epochs": 2, "batch_size": 12, "width": 0.25,
        "hidden": (128, 64), "pretrained": False, "backbone_momentum": 0.3, "norm_momentum": 0.3,
        "lr_low": 1e-3, "lr_high": 3e-3, "lr_b": 1e-3, "lr_c": 1e-3, "mixup_mel": 0.0, "mixup_pca": 0.0,
    },
)  # fmt: skip


def search(trial: "optuna.Trial") -> dict[str, Any]:
    return {
        "lr_high": trial.suggest_float("lr_high", 5e-4, 3e-3, log=True),
        "mixup_mel": trial.suggest_float("mixup_mel", 0.2, 1.5),
        "mixup_pca": trial.suggest_float("mixup_pca", 0.2, 1.5),
        "shift": trial.suggest_float("shift", 0.0, 1.0),
        "reversal": trial.suggest_float("reversal", 0.0, 0.5),
        "erasing": trial.suggest_float("erasing", 0.0, 0.5),
    }


def features(s: Settings) -> dict[str, akit.Feature]:
    wave = akit.Wave(44100, trim_pad="reflect", encoding="float32")  # 16 bits would change the summary features
    mel = akit.LogMel(wave, n_fft=3528, hop_length=440, n_mels=64, fmax=11025.0, pad_mode="reflect")
    table = akit.Stats(wave, preset="freesound")
    return {"mel": mel} | ({"pca": akit.Pca(table, s.n_pca, fit_on=s.pca_fit)} if s.n_pca else {})


def components(clips: akit.Clips, n: int) -> np.ndarray:
    """Return the principal components: float32 (clips, n). If there are too few clips for n, the others are zero."""
    found = clips["pca"]
    return np.pad(found, ((0, 0), (0, n - found.shape[1])))


def needs(s: Settings) -> akit.Needs:
    weights = partial(imagenet_weights, MobileNet_V2_Weights.IMAGENET1K_V1) if s.pretrained else None
    return akit.Needs(validation=s.checkpoint == "best", weights=weights, or_random=True)


def batches(s: Settings, n_pca: int, frames: int | range, mixup: float = 0.0) -> Batches:
    """Return batches of mel spectrograms, cut at random or mirrored to a length, with components if `n_pca`."""
    erase = random_erasing(s.erasing, fill=(LOWEST + LOUDER, LOWEST + LOUDER + RANGE))
    return Batches(
        "mel",
        s.batch_size,
        frames,
        pad="symmetric",
        channel_axis=True,
        side=partial(components, n=n_pca) if n_pca else None,
        augment=[time_slide(s.shift), time_reversal(s.reversal), *([erase] if s.erasing else [])],
        mixup=mixup,
    )


class MelPcaNet(nn.Module):
    """Mel spectrograms (clips, 1, 64, frames) in dB, and components (clips, n_pca) → logits (clips, classes).

    Batch normalization as in Keras. Stage 1 has no components: `n_pca` 0.
    """

    def __init__(self, s: Settings, n_classes: int, n_pca: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1, eps=1e-3, momentum=s.norm_momentum)
        self.colours = nn.Sequential(nn.Conv2d(1, 10, 1), nn.ReLU(), nn.Conv2d(10, 3, 1), nn.ReLU())
        norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=s.backbone_momentum)
        self.backbone = mobilenet_v2(width_mult=s.width, norm_layer=norm)  # ends with the mean over the map
        width = self.backbone.last_channel
        self.backbone.classifier = nn.Identity()
        use_same_padding(self.backbone)
        self.pca_norm = nn.BatchNorm1d(n_pca, eps=1e-3, momentum=s.norm_momentum) if n_pca else None
        layers: list[nn.Module] = []
        for n_in, n_out in ((width + n_pca, s.hidden[0]), s.hidden):
            layers += [nn.Linear(n_in, n_out), nn.ReLU(), nn.BatchNorm1d(n_out, eps=1e-3, momentum=s.norm_momentum)]
        self.head = nn.Sequential(*layers, nn.Linear(s.hidden[1], n_classes))
        self.colours.apply(start_as_keras)
        self.head.apply(start_as_keras)

    def forward(self, mel: torch.Tensor, pca: torch.Tensor | None = None) -> torch.Tensor:
        found = self.backbone(self.colours(self.norm((mel - LOUDER - LOWEST) / RANGE)))
        if self.pca_norm is not None:
            found = torch.cat([found, self.pca_norm(pca)], dim=1)
        return self.head(found)

    @torch.no_grad()
    def reinit_dead_stem(self) -> None:
        """Reinitialize the two convolutions before the backbone until their output is not zero for all inputs."""
        while not self.colours(torch.tensor([-1.0, 1.0]).reshape(2, 1, 1, 1)).any():
            self.colours.apply(start_as_keras)

    def carry_over(self, mel: "MelPcaNet") -> None:
        """Load all weights but those of the head from the network of stage 1."""
        for part in ("norm", "colours", "backbone"):
            getattr(self, part).load_state_dict(getattr(mel, part).state_dict())


def start_as_keras(layer: nn.Module) -> None:
    """Initialize weights uniformly as Glorot does, and biases with zero."""
    if isinstance(layer, nn.Linear | nn.Conv2d):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)


def build_model(s: Settings, n_classes: int) -> nn.Module:
    return MelPcaNet(s, n_classes, s.n_pca)


def triangular(low: float, high: float, epochs: int = 1) -> Schedule:
    """Rise linearly from `low` to `high` in `epochs` epochs and back in as many, repeatedly (Smith 2017); per batch."""

    def rate(progress: Progress) -> float:
        place = progress.step / progress.steps_per_epoch / epochs
        return high - (high - low) * abs(place % 2 - 1)

    return rate


def phases(s: Settings) -> list[Phase]:
    if s.checkpoint == "best":
        tail = [Phase(s.epochs, Plateau(lr, 0.1, 3), s.patience, from_best=True) for lr in (s.lr_b, s.lr_c)]
    else:
        tail = [Phase(s.last_epochs, step_decay(lr, -(-s.last_epochs // 3))) for lr in (s.lr_b, s.lr_c)]
    return [Phase(s.epochs, triangular(s.lr_low, s.lr_high)), *tail]


def weigh(batch: Batch, _: BatchRng, weights: torch.Tensor) -> Batch:
    """Return the batch with a loss in which each clip is weighted by its main class."""

    def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        each = nn.functional.cross_entropy(logits, targets, reduction="none")
        return (each * weights.to(each)[targets.argmax(dim=1)]).mean()

    return replace(batch, loss=loss)


def run_stage(fold: akit.Fold, s: Settings, stage: str, net: nn.Module, training: Batches) -> akit.FitResult:
    n_pca = 0 if stage == "mel" else s.n_pca
    return akit.fit(
        fold,
        stage,
        net,
        batches=training,
        phases=phases(s),
        optimizer=partial(torch.optim.Adam, lr=s.lr_low, eps=1e-7),
        keep="valid_loss" if s.checkpoint == "best" else "last",
        micro_batch=s.micro_batch,
        valid_batches=[batches(s, n_pca, frames) for frames in s.lengths],
    )


def start_from_imagenet(s: Settings, net: MelPcaNet) -> list[str]:
    """Load ImageNet's weights into the backbone. Return a note with the reason if it starts from random weights."""
    try:
        if not s.pretrained:
            raise akit.AkitError("pretrained=false")
        load_imagenet(net.backbone, MobileNet_V2_Weights.IMAGENET1K_V1)
    except akit.AkitError as error:
        return [f"MobileNetV2 started from random weights: {str(error).splitlines()[0]}"]
    return []


def train(fold: akit.Fold, s: Settings) -> akit.FitResult:
    mel, net = MelPcaNet(s, fold.n_classes, 0), MelPcaNet(s, fold.n_classes, s.n_pca)
    mel.reinit_dead_stem()
    notes = start_from_imagenet(s, mel)
    lengths = range(min(s.lengths), max(s.lengths)) or s.lengths[0]
    first = run_stage(fold, s, "mel", mel, batches(s, 0, lengths, s.mixup_mel)).after(notes=notes)
    if not s.n_pca:
        return first
    notes = []
    if (n_found := fold.train["pca"].shape[1]) < s.n_pca:
        notes.append(f"{n_found} principal components, not {s.n_pca}: there are no more clips to find them in")
    training = batches(s, s.n_pca, lengths, s.mixup_pca)
    if s.balanced:
        counts = np.bincount(fold.train.labels, minlength=fold.n_classes)
        weights = torch.from_numpy(len(fold.train) / (np.count_nonzero(counts) * np.maximum(counts, 1)))
        training = replace(training, batch_augment=partial(weigh, weights=weights))
    net.carry_over(mel)
    return run_stage(fold, s, "mel_pca", net, training).after(first, notes=notes)


def predict(model: nn.Module, clips: akit.Clips, s: Settings) -> np.ndarray:
    """Return the geometric mean over crops of all lengths; in single-label tasks, rows sum to one."""
    total = np.zeros((len(clips), len(clips.classes)))
    for frames in s.lengths:
        for n in range(s.tries):
            total += np.log(akit.forward(model, clips, batches(s, s.n_pca, frames), key=f"{frames}/{n}") + 1e-38)
    mean = np.exp(total / (len(s.lengths) * s.tries))
    return mean / mean.sum(axis=1, keepdims=True) if clips.task == "single" else mean
