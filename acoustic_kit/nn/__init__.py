"""Layers that recipes build their models from."""

from acoustic_kit.nn.imagenet import imagenet_weights, load_imagenet
from acoustic_kit.nn.kaldi import KaldiFilterBank
from acoustic_kit.nn.logmel import MelSpectrogram
from acoustic_kit.nn.pcen import TrainablePcen
from acoustic_kit.nn.urbansound8k.attentive_pooling import AttentiveHead, AttentiveStatisticsPooling
from acoustic_kit.nn.urbansound8k.batch_masks import BatchMasks
from acoustic_kit.nn.urbansound8k.fusion import EmbeddingFusion, Film, MixedEmbedding
from acoustic_kit.nn.urbansound8k.resnet import Cbam, CbamResnet34, DeepStemResnet, resnet34
from acoustic_kit.nn.urbansound8k.wave_front_end import WaveFrontEnd

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
