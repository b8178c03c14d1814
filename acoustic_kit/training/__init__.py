"""Training: one loop for every torch recipe, with its batches, augmentation, schedules and checkpoints."""

from acoustic_kit.training.augment import Augment, spec_augment, time_shift
from acoustic_kit.training.batch import Batch, BatchAugment, BatchRng, Loss
from acoustic_kit.training.batches import Batches, Loader
from acoustic_kit.training.checkpoint import load_tensors, save_tensors
from acoustic_kit.training.clip_rng import ClipRng
from acoustic_kit.training.crops import Window, decibel_power, input_length
from acoustic_kit.training.evaluation import forward
from acoustic_kit.training.fabric import make_fabric
from acoustic_kit.training.frames import forward_frames
from acoustic_kit.training.loop import Phase, fit
from acoustic_kit.training.losses import LossName, TargetLoss, default_loss, make_loss, with_frame_loss
from acoustic_kit.training.mixup import MixupLabels
from acoustic_kit.training.sam import Sam
from acoustic_kit.training.sampling import class_balanced
from acoustic_kit.training.schedules import (
    Plateau,
    Progress,
    Schedule,
    by_epoch,
    constant,
    cosine,
    cosine_restarts,
    one_cycle,
    step_decay,
    warmup,
)

__all__ = [
    "Augment",
    "Batch",
    "BatchAugment",
    "BatchRng",
    "Batches",
    "ClipRng",
    "Loader",
    "Loss",
    "LossName",
    "MixupLabels",
    "Phase",
    "Plateau",
    "Progress",
    "Sam",
    "Schedule",
    "TargetLoss",
    "Window",
    "by_epoch",
    "class_balanced",
    "constant",
    "cosine",
    "cosine_restarts",
    "decibel_power",
    "default_loss",
    "fit",
    "forward",
    "forward_frames",
    "input_length",
    "load_tensors",
    "make_fabric",
    "make_loss",
    "one_cycle",
    "save_tensors",
    "spec_augment",
    "step_decay",
    "time_shift",
    "warmup",
    "with_frame_loss",
]
