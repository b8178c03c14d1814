"""Layers that recipes build their models from, one file each."""

from acoustic_kit.nn.attentive_pooling import AttentiveHead, AttentiveStatisticsPooling
from acoustic_kit.nn.batch_masks import BatchMasks
from acoustic_kit.nn.cbam import Cbam
from acoustic_kit.nn.film import Film
from acoustic_kit.nn.fusion import EmbeddingFusion
from acoustic_kit.nn.kaldi import KaldiFilterBank
from acoustic_kit.nn.logmel import MelSpectrogram
from acoustic_kit.nn.mixed_embedding import MixedEmbedding
from acoustic_kit.nn.pcen import TrainablePcen
from acoustic_kit.nn.resnet import CbamResnet34, DeepStemResnet, imagenet_weights, load_imagenet, resnet34
from acoustic_kit.nn.wave_front_end import WaveFrontEnd

__all__ = [
    "AttentiveHead",
    "AttentiveStatisticsPooling",
    "BatchMasks",
    "Cbam",
    "CbamResnet34",
    "DeepStemResnet",
    "EmbeddingFusion",
    "Film",
    "KaldiFilterBank",
    "MelSpectrogram",
    "MixedEmbedding",
    "TrainablePcen",
    "WaveFrontEnd",
    "imagenet_weights",
    "load_imagenet",
    "resnet34",
]
