"""End-to-End Audio (EAT): convolutions on the raw wave and a transformer, small (S) and medium (M), on four data sets.

Source: github.com/Alibaba-MIIL/AudioClassfication @ 6277e5e; Gazneli et al. 2022, arXiv:2204.11479.
Published eat_s_esc50: ESC-50, five folds, accuracy 0.9215 (another user of the code got 0.905).
Published eat_m_esc50: ESC-50, five folds, accuracy 0.963 from AudioSet's weights, as others quote it.
Published eat_s_us8k: UrbanSound8K, ten folds, accuracy 0.855, or 0.881 from AudioSet's weights; not seen at its source.
Published eat_m_us8k: UrbanSound8K, ten folds, accuracy 0.900 from AudioSet's weights; not seen at its source.
Published eat_s_speechcommands: Speech Commands V2, testing list, accuracy 0.9815; `--folds 2` trains as there.
Data eat_m_speechcommands: Speech Commands V2.
Published eat_m_speechcommands: none; the sizes are the code's.
Published eat_s_audioset: AudioSet, evaluation segments, mAP 0.405; `--full` trains as there.
Published eat_m_audioset: AudioSet, evaluation segments, mAP 0.426; `--full` trains as there.
Reproduce: each with NAME for the submission:
  - ESC-50: `akit init work --data ESC-50 --metric accuracy`, `akit -C work recipe run eat_s_esc50`
  - UrbanSound8K: `akit init work --data UrbanSound8K --metric accuracy`, `akit -C work recipe run eat_s_us8k`
  - Speech Commands: `akit init work --data SpeechCommands --metric accuracy`, `akit -C work recipe run
    eat_s_speechcommands --folds 2`, `akit -C work blend --runs eat_s_speechcommands --name NAME`,
    `akit -C work score work/submissions/NAME.csv`
  - AudioSet: `akit init work --data AudioSet --metric map`, `akit -C work recipe run eat_s_audioset --full`,
    `akit -C work blend --runs eat_s_audioset --name NAME`, `akit -C work score work/submissions/NAME.csv`
Differs: see "What all recipes share" in docs/recipes.md; and:
  Kept as it ran, because it scored:
  - Class token and positions start at zero, and all layers of the transformer alike: the code that should draw them is
    never reached, and the layers are copies of one.
  - Losses are sums over the batch, whose gradient is then cut to a norm of 1; 1cycle moves Adam's β₁ too.
  - A mixed batch has all labels of both clips; their fractions decide only whether the second's count at all.
  - The gain of a segment falls in the first 0.2 s; colored noise has its mean twice, where it should have none.
  Fixed, and off as in the original:
  - Starting from AudioSet's weights crashed, and none were published: `--set pretrained=FOLDER` takes a run's.
  - Background noise was scaled by the clip's power, where its amplitude was meant: `--set background=FOLDER`.
  Not reproduced:
  - bf16 on GPUs that have it, where the original had fp16 and scaled the loss: bf16 needs no scale. Without it, ε and
    the cut norm stay those of mixed precision; there they were 1e-8 and none.
  - Batch normalization over the whole batch on several GPUs; there each GPU normalized its own part of it, in the runs
    on AudioSet.
  - Options that are off there and have no counterpart: time reversal, μ-law, frequency shift, impulse responses of
    rooms, low- and high-pass filters, and a teacher network.
  - A clip that is too long is predicted from its middle, not from anywhere, so that a prediction can be repeated.
  - A silent clip stays silent; the original divided by its peak of zero.
  - Validated after each epoch, not every 100 steps, as for every recipe.
  - The parts of a clip's noise are drawn from hashes of its name, so that they are the same in any batch.
  - The README's command for Speech Commands names ESC-50; the settings are those of Speech Commands.
"""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt, model_validator
from torch import nn
from torch.nn import functional

import acoustic_kit as akit
from acoustic_kit.recipe.end_to_end_audio.wave_chain import (
    SPECTROGRAMS,
    WaveAugmentations,
    background,
    label_preserving,
    resampled_and_mixed,
)
from acoustic_kit.training import Batches, Phase, Window, load_tensors, one_cycle
from acoustic_kit.training.losses import binary_cross_entropy, cross_entropy, smoothed_cross_entropy, summed
from acoustic_kit.training.transfer import load_but, weights_of_run

if TYPE_CHECKING:
    import optuna


class Settings(akit.Settings):
    sample_rate: int = Field(22050, description="Hz; clips are resampled to it")
    encoding: Literal["float32", "int16"] = Field("int16", description="of stored waves; int16 takes half the space")
    seq_len: int = Field(114688, description="samples; shorter clips get zeros at the end")
    ds_factors: tuple[PositiveInt, ...] = Field((4, 4, 4, 4), description="first down-samplings; two of 2 follow")
    nf: int = Field(16, ge=1, description="channels of the first convolution; each stage doubles them")
    emb_dim: int = Field(128, ge=1, description="width of the tokens")
    n_head: int = Field(8, ge=1, description="attention heads")
    n_layers: int = Field(4, ge=1, description="layers of the transformer")
    dim_feedforward: int = Field(512, ge=1, description="width of the transformer's hidden layers")
    dropout: float = Field(0.1, ge=0, lt=1, description="in the transformer")
    epochs: int = Field(3500, ge=1, description="passes over the training clips")
    batch_size: int = Field(128, ge=1, description="clips per step; a smaller last batch is left out")
    max_lr: float = Field(3e-4, gt=0, description="AdamW's highest rate, after a tenth of the training (1cycle)")
    weight_decay: float = Field(1e-5, ge=0, description="AdamW's, of all but biases and norms")
    eps: float = Field(1e-4, gt=0, description="AdamW's ε, as the original has it with mixed precision")
    clip_norm: float = Field(1.0, gt=0, description="largest norm of the gradient of the batch's summed loss")
    loss: Literal["label_smooth", "cross_entropy", "bce"] = Field("label_smooth", description="of unmixed batches")
    mix_loss: Literal["bce", "ce"] = Field(
        "bce", description="of mixed batches: all labels of both, or their fractions"
    )
    epoch_mix: int = Field(12, ge=0, description="epochs before batches are mixed")
    augment: WaveAugmentations = WaveAugmentations()
    sampler: Literal["uniform", "balanced"] = Field("uniform", description="balanced: clips of rare classes more often")
    background: str | None = Field(None, description="folder of recordings to add to half of the clips, at 20 to 25 dB")
    checkpoint: Literal["last", "best"] = Field("last", description="epoch that is kept: last, or best on validation")
    ema: float | None = Field(None, gt=0, lt=1, description="decay per epoch of averaged weights, which then predict")
    pretrained: str | None = Field(None, description="weights to start from: an AudioSet run's folder, or a file")
    window: Window = Field("random", description="part of longer clips that is trained on: random, first or loudest")
    crops: int | None = Field(None, ge=1, description="crops of long clips that are averaged; 12, but 1 of the loudest")
    micro_batch: int | None = Field(None, ge=1, description="clips in memory at once; gradients are accumulated")

    @model_validator(mode="after")
    def _fits(self) -> "Settings":
        if self.sample_rate not in SPECTROGRAMS:
            raise ValueError(f"sample_rate is {self.sample_rate}; it must be one of {list(SPECTROGRAMS)}")
        factor, hop = self.down_sampling, max(hop for _, hop in SPECTROGRAMS[self.sample_rate])
        if self.seq_len % math.lcm(factor, hop):
            raise ValueError(f"seq_len is {self.seq_len}; it must be a multiple of {math.lcm(factor, hop)}")
        if self.seq_len // (factor // 2) <= 63:  # the widest kernel is padded by as much, mirrored
            raise ValueError(f"seq_len is {self.seq_len}; with these ds_factors it must be over {63 * factor // 2}")
        if self.emb_dim % self.n_head:
            raise ValueError(f"emb_dim is {self.emb_dim}; it must be a multiple of n_head, {self.n_head}")
        return self

    @property
    def down_sampling(self) -> int:
        """Samples per token."""
        return math.prod(self.ds_factors) * 4


MEDIUM = {"nf": 32, "emb_dim": 256, "n_head": 16, "n_layers": 6, "dim_feedforward": 2048}
US8K = {"seq_len": 90112}
SPEECH = {"sample_rate": 16000, "seq_len": 16384, "ds_factors": (4, 4, 4), "epochs": 1500}
AUDIOSET = {
    "seq_len": 221184, "epochs": 250, "batch_size": 208, "epoch_mix": 2, "loss": "bce", "sampler": "balanced",
    "augment.noise": 0.0,
}  # fmt: skip
VARIANTS = {
    "eat_s_esc50": {},
    "eat_s_us8k": US8K,
    "eat_s_speechcommands": SPEECH,
    "eat_s_audioset": AUDIOSET,
    "eat_m_esc50": MEDIUM,
    "eat_m_us8k": MEDIUM | US8K,
    "eat_m_speechcommands": MEDIUM | SPEECH,
    "eat_m_audioset": MEDIUM | AUDIOSET,
}
WRITE_UP = {  # of the trainer's defaults and the README's commands, one for each variant
    "encoding": (
        "float32",
        "waves are kept in 16 bits, half the space of float32: off by 1.5e-5 at most, where the peak is 0.95; "
        "`--set encoding=float32` keeps them as they are",
    ),
    "ema": (
        "0.995, never used",
        "the exponential average was kept up and never used; `--set ema=0.995` predicts with it. There it moved every "
        "fifth step, with a decay of 0.01 an epoch in the first two; here it moves every step, and the number of steps "
        "warms it up (`WeightAverage`)",
    ),
    "checkpoint": (
        "last; or best on test",
        "the last epoch, as the code has it since 2023-05; the published scores may be of the epoch that was best on "
        "the test fold (`--set checkpoint=best`)",
    ),
}
FAST = akit.Fast(
    clips_per_class=8,
    folds=2,
    settings={
        "sample_rate": 8000, "seq_len": 8192, "ds_factors": (4, 4, 4), "nf": 4, "emb_dim": 32, "n_head": 4,
        "n_layers": 1, "dim_feedforward": 64, "epochs": 25, "batch_size": 4, "max_lr": 1e-3, "epoch_mix": 16,
    },
)  # fmt: skip


def search(trial: "optuna.Trial") -> dict[str, Any]:
    return {
        "max_lr": trial.suggest_float("max_lr", 1e-4, 3e-3, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-6, 1e-2, log=True),
        "dropout": trial.suggest_float("dropout", 0.0, 0.3),
        "augment.noise": trial.suggest_float("augment.noise", 0.0, 1.0),
        "augment.resample": trial.suggest_float("augment.resample", 0.0, 1.0),
        "augment.mix": trial.suggest_float("augment.mix", 0.5, 1.0),
    }


def features(s: Settings) -> dict[str, akit.Feature]:
    return {"wave": akit.Wave(s.sample_rate, trim_top_db=None, peak=0.95, encoding=s.encoding)}


def needs(s: Settings) -> akit.Needs:
    weights = None if s.pretrained is None else partial(weights_of_run, Path(s.pretrained))
    return akit.Needs(validation=s.checkpoint == "best", weights=weights)


def batches(s: Settings) -> Batches:
    return Batches("wave", s.batch_size, s.seq_len, short="start", channel_axis=True, window=s.window, crops=s.crops)


def training_batches(s: Settings, n: int) -> Batches:
    """Return batches of n clips, with the whole chain of augmentations."""
    noise = [background(s.background, s.sample_rate)] if s.background else []
    targets = "union" if s.mix_loss == "bce" else "shares"
    mix_loss = summed(binary_cross_entropy, n) if s.mix_loss == "bce" else functional.cross_entropy
    return replace(
        batches(s),
        drop_last=True,
        weights=balanced if s.sampler == "balanced" else None,
        augment=[*noise, *label_preserving(s.augment, s.sample_rate)],
        batch_augment=resampled_and_mixed(s.augment, s.sample_rate, s.epoch_mix, targets, mix_loss),
    )


def balanced(clips: akit.Clips) -> np.ndarray:
    """Return for each clip the sum over its labels of one over the number of clips of the label."""
    labels = np.eye(len(clips.classes))[clips.labels] if clips.task == "single" else clips.labels.astype(float)
    return labels @ (1 / labels.sum(axis=0).clip(min=1))


def conv(n_in: int, n_out: int, kernel: int, dilation: int = 1, groups: int = 1) -> nn.Sequential:
    """Return a convolution that keeps the length, with mirrored ends; batch normalization; leaky ReLU."""
    padding = dilation * (kernel // 2)
    layer = nn.Conv1d(
        n_in, n_out, kernel, 1, padding, dilation, groups, bias=False, padding_mode="reflect" if padding else "zeros"
    )
    return nn.Sequential(layer, nn.BatchNorm1d(n_out), nn.LeakyReLU(0.2, inplace=True))


class AntiAlias(nn.Module):
    """Triangular moving average over 2d + 1 values, at every d-th: (clips, n, length) → (clips, n, ⌈length / d⌉)."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.d = d
        ramp = d + 1 - torch.arange(-d, d + 1).abs()
        self.register_buffer("filter", (ramp / ramp.sum()).repeat(n, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.pad(x, (self.d, self.d), mode="reflect")
        return functional.conv1d(x, self.filter, stride=self.d, groups=len(self.filter))


class Residual(nn.Module):
    """The sum of three paths: a learned shortcut, a 1×1 convolution, and a wide one in each channel."""

    def __init__(self, n: int, dilation: int = 1) -> None:
        super().__init__()
        self.shortcut, self.pointwise = nn.Conv1d(n, n, 1), conv(n, n, 1)
        self.wide = conv(n, n, 15, dilation, groups=n)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shortcut(x) + self.pointwise(x) + self.wide(x)


class Eat(nn.Module):
    """Waves (clips, 1, seq_len) → logits (clips, classes)."""

    def __init__(self, s: Settings, n_classes: int) -> None:
        super().__init__()
        n, layers = s.nf, [conv(1, s.nf, 7)]
        for stage, d in enumerate(s.ds_factors):
            layers += [conv(n, 2 * n, d + 1), AntiAlias(2 * n, d), *([Residual(2 * n)] if stage % 2 == 0 else [])]
            n *= 2
        for _ in range(2):
            layers += [*(Residual(n, dilation) for dilation in (1, 3, 9)), conv(n, 2 * n, 3), AntiAlias(2 * n, 2)]
            n *= 2
        self.body = nn.Sequential(*layers, nn.Conv1d(n, s.emb_dim, 1))
        e = s.emb_dim
        self.class_token = nn.Parameter(torch.zeros(1, 1, e))
        self.positions = nn.Parameter(torch.zeros(1, s.seq_len // s.down_sampling + 1, e))
        layer = nn.TransformerEncoderLayer(e, s.n_head, s.dim_feedforward, s.dropout, functional.gelu)
        self.encoder = nn.TransformerEncoder(layer, s.n_layers, nn.LayerNorm(e), enable_nested_tensor=False)
        self.classifier = nn.Linear(e, n_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Conv1d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, waves: torch.Tensor) -> torch.Tensor:
        tokens = self.body(waves).transpose(1, 2)  # (clips, tokens, e)
        tokens = torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1) + self.positions
        return self.classifier(self.encoder(tokens.transpose(0, 1))[0])


def build_model(s: Settings, n_classes: int) -> nn.Module:
    return Eat(s, n_classes)


def start_from(net: Eat, path: Path) -> None:
    """Load another run's weights, with positions interpolated to the number of tokens; the classifier stays new."""
    tensors, source = load_tensors(weights_of_run(path)), weights_of_run(path)
    if "positions" in tensors:
        positions = functional.interpolate(tensors["positions"].transpose(1, 2), size=net.positions.shape[1])
        tensors["positions"] = positions.transpose(1, 2)
    load_but(net, tensors, ["classifier."], source)


def adamw(parameters: list[nn.Parameter], s: Settings) -> torch.optim.Optimizer:
    """Return AdamW with weight decay of matrices and kernels, not of biases and norms."""
    parameters = list(parameters)
    groups = [{"params": [p for p in parameters if p.ndim > 1]}]
    groups += [{"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=s.max_lr, betas=(0.95, 0.99), eps=s.eps, weight_decay=s.weight_decay)


def train(fold: akit.Fold, s: Settings) -> akit.FitResult:
    multi = fold.train.task == "multi"
    if multi and (s.loss != "bce" or s.mix_loss != "bce"):
        raise akit.AkitError("Clips with several labels need --set loss=bce --set mix_loss=bce.")
    net = build_model(s, fold.n_classes)
    if s.pretrained is not None:
        start_from(net, Path(s.pretrained))
    notes = [] if s.pretrained is None else [f"started from the weights of {s.pretrained}"]
    n = min(s.batch_size, len(fold.train))  # clips per step
    by_clip = {"label_smooth": smoothed_cross_entropy, "cross_entropy": cross_entropy, "bce": binary_cross_entropy}
    beta1 = one_cycle(0.85, warmup=0.1, start=0.95 / 0.85, final=0.95 / 0.85)
    return akit.fit(
        fold,
        "eat",
        net,
        batches=training_batches(s, n),
        phases=[Phase(s.epochs, one_cycle(s.max_lr, warmup=0.1, start=1 / 25, final=1 / 25e4), beta1=beta1)],
        optimizer=partial(adamw, s=s),
        loss=summed(by_clip[s.loss], n),
        keep="last" if s.checkpoint == "last" else "map" if multi else "accuracy",
        clip_norm=s.clip_norm,
        ema=None if s.ema is None else s.ema ** (n / len(fold.train)),
        micro_batch=s.micro_batch,
    ).after(notes=notes)
