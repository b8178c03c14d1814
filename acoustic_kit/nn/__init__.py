"""Layers that recipes build their models from, one file each."""

from acoustic_kit.nn.kaldi import KaldiFilterBank
from acoustic_kit.nn.logmel import MelSpectrogram
from acoustic_kit.nn.pcen import TrainablePcen

__all__ = ["KaldiFilterBank", "MelSpectrogram", "TrainablePcen"]
