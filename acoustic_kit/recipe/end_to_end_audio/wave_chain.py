"""The chain of all wave augmentations of EAT, with a switch for each.

A. Gazneli et al., "End-to-End Audio Strikes Back", 2022, arXiv:2204.11479; probabilities, ranges and names are those of
its code, github.com/Alibaba-MIIL/AudioClassfication @ 6277e5e.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field

from acoustic_kit.errors import AkitError
from acoustic_kit.features import Wave
from acoustic_kit.recipe.end_to_end_audio.random_apply import Op, in_random_order, one_of
from acoustic_kit.recipe.end_to_end_audio.wave_augment import flip_sign, gain, mask, rotate, segment_gain, shift
from acoustic_kit.recipe.end_to_end_audio.wave_mix import MIXES, union_targets
from acoustic_kit.recipe.end_to_end_audio.wave_noise import (
    COLORS,
    background_noise,
    colored_noise,
    even_noise,
    hum,
    phase_noise,
    white_noise,
)
from acoustic_kit.recipe.end_to_end_audio.wave_resample import change_speed
from acoustic_kit.recipe.settings import Settings
from acoustic_kit.training.augment import Augment
from acoustic_kit.training.batch import Batch, BatchAugment, BatchRng, Loss
from acoustic_kit.training.clip_rng import ClipRng

SPECTROGRAMS = {  # windows and hops in samples, by sample rate; one pair is drawn per use
    8000: ((128, 32), (256, 64), (512, 128)),
    16000: ((256, 64), (512, 128), (1024, 256)),
    22050: ((512, 128), (1024, 256), (2048, 1024)),
}
SPEEDS = (Fraction(4, 5), Fraction(9, 10), Fraction(11, 10), Fraction(6, 5))


class WaveAugmentations(Settings):
    """Switches and probabilities of the augmentations; the defaults are the published ones."""

    amp: float = Field(0.5, ge=0, le=1, description="probability of a level times 0.5 to 1.3")
    neg: float = Field(0.5, ge=0, le=1, description="probability of the other sign")
    tshift: float = Field(0.5, ge=0, le=1, description="probability of a shift by up to 0.1 s either way")
    tmask: float = Field(0.5, ge=0, le=1, description="probability of 0.1 s of near silence")
    ampsegment: float = Field(0.5, ge=0, le=1, description="probability of 0.1 s near the start at another level")
    cycshift: float = Field(0.5, ge=0, le=1, description="probability of a circular shift")
    noise: float = Field(0.5, ge=0, le=1, description="probability of noise of one kind, of those that are on")
    awgn: bool = Field(True, description="white noise, 30 dB below the sound")
    apgn: bool = Field(True, description="pink noise, 30 dB")
    argn: bool = Field(True, description="red noise, 30 dB")
    abgn: bool = Field(True, description="blue noise, 30 dB")
    avgn: bool = Field(True, description="violet noise, 30 dB")
    aun: bool = Field(True, description="uniform noise, 30 dB")
    phn: bool = Field(True, description="noise in the phases of a spectrogram")
    sine: bool = Field(True, description="a hum below about 55 Hz, 30 to 35 dB")
    resample: float = Field(0.5, ge=0, le=1, description="probability that a batch is 0.8 to 1.2 times as long")
    mix: float = Field(
        1.0, ge=0, le=1, description="probability that a batch is mixed, in one way of those that are on"
    )
    mixup: bool = Field(True, description="sums of two clips")
    timemix: bool = Field(True, description="the start or the end of another clip")
    freqmix: bool = Field(True, description="the low or the high frequencies of another clip")
    phmix: bool = Field(True, description="phases between those of two clips")


def label_preserving(a: WaveAugmentations, sample_rate: int) -> list[Augment]:
    """Return the label-preserving augmentations, in random order, each with its probability; then noise of one kind."""
    tenth = int(0.1 * sample_rate)
    signal = {
        "amp": gain(0.5, 1.3),
        "neg": flip_sign(),
        "tshift": shift(tenth),
        "tmask": mask(tenth),
        "ampsegment": segment_gain(tenth, 0.5, 1.3),
        "cycshift": rotate(),
    }
    noise = {
        "awgn": white_noise(30),
        "apgn": colored_noise(COLORS["pink"], 30),
        "argn": colored_noise(COLORS["red"], 30),
        "abgn": colored_noise(COLORS["blue"], 30),
        "avgn": colored_noise(COLORS["violet"], 30),
        "aun": even_noise(30),
        "phn": phase_noise(SPECTROGRAMS[sample_rate]),
        "sine": hum(sample_rate, 30, 35),
    }
    return [
        in_random_order("signal", signal, {name: getattr(a, name) for name in signal}),
        one_of("noise", {name: op for name, op in noise.items() if getattr(a, name)}, a.noise),
    ]


def background(folder: str, sample_rate: int, p: float = 0.5) -> Augment:
    """Add a recording of a folder, such as Speech Commands' `_background_noise_`, at 20 to 25 dB, with probability `p`.

    Files with `noise` in their names are artificial, and left out. Files are read on first use.

    Raises AkitError, on first use, if the folder has no other recording.
    """

    @cache
    def read() -> Op:
        paths = sorted(path for path in Path(folder).glob("*.wav") if "noise" not in path.name)
        if not paths:
            raise AkitError(f"{folder} has no recording (*.wav) to add, except those with noise in their names.")
        return background_noise([torch.from_numpy(Wave(sample_rate, None).compute(path)) for path in paths], 20, 25)

    def op(x: torch.Tensor, rng: ClipRng) -> torch.Tensor:
        return read()(x, rng)

    return one_of("background", {"background": op}, p)


def resampled_and_mixed(
    a: WaveAugmentations, sample_rate: int, after: int, targets: Literal["union", "shares"], loss: Loss
) -> BatchAugment:
    """Resample a batch to another speed, with a probability; after some epochs, mix it with itself in another order.

    Parameters
    ----------
    a : switches and probabilities
    sample_rate : Hz, one of those of SPECTROGRAMS
    after : epochs without mixing
    targets : of a mixed clip: the labels of both (see `union_targets`), or both weighted by their fractions
    loss : loss of mixed batches

    """
    mixes = [mix for name, mix in MIXES.items() if getattr(a, name)]

    def apply(batch: Batch, rng: BatchRng) -> Batch:
        x = batch.x.flatten(1)
        resampled, speed, mixed, kind, size = rng.batch.uniform64("resampled and mixed", 5)[0]
        if resampled < a.resample:
            x = change_speed(x, speed, SPEEDS)
        if rng.epoch <= after or mixed >= a.mix or not mixes:
            return replace(batch, inputs=(x.reshape(batch.x.shape),))
        order = rng.batch.uniform64("partner", len(batch))[0].argsort()
        partner = torch.from_numpy(order).to(x.device, non_blocking=True)
        window, hop = SPECTROGRAMS[sample_rate][int(size * 3)]
        x, share = mixes[int(kind * len(mixes))](x, partner, rng.clips, window, hop)
        own, other = batch.targets, batch.targets[partner]
        targets_of_mix = union_targets(own, other, share) if targets == "union" else torch.lerp(other, own, share)
        return Batch((x.reshape(batch.x.shape),), targets_of_mix, loss)

    return apply
