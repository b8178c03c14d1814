"""Layers that recipes build their models from."""

from acoustic_kit.nn.frame_attention import BandPooling, ClipOutput, FrameAttentionHead, FrameNet, FrameOutput
from acoustic_kit.nn.imagenet import imagenet_weights, load_imagenet
from acoustic_kit.nn.kaldi import KaldiFilterBank
from acoustic_kit.nn.logmel import MelSpectrogram
from acoustic_kit.nn.mel_channels import ClipMasks, MelChannels
from acoustic_kit.nn.pcen import TrainablePcen
from acoustic_kit.nn.timm_backbone import TimmBackbone
from acoustic_kit.nn.urbansound8k.attentive_pooling import AttentiveHead, AttentiveStatisticsPooling
from acoustic_kit.nn.urbansound8k.batch_masks import BatchMasks
from acoustic_kit.nn.urbansound8k.fusion import EmbeddingFusion, Film, MixedEmbedding
from acoustic_kit.nn.urbansound8k.resnet import Cbam, CbamResnet34, DeepStemResnet, resnet34
from acoustic_kit.nn.urbansound8k.wave_front_end import WaveFrontEnd

__all__ = [
    "AttentiveHead",
    "AttentiveStatisticsPooling",
    "BandPooling",
    "BatchMasks",
    "Cbam",
    "CbamResnet34",
    "ClipMasks",
    "ClipOutput",
    "DeepStemResnet",
    "EmbeddingFusion",
    "Film",
    "FrameAttentionHead",
    "FrameNet",
    "FrameOutput",
    "KaldiFilterBank",
    "MelChannels",
    "MelSpectrogram",
    "MixedEmbedding",
    "TimmBackbone",
    "TrainablePcen",
    "WaveFrontEnd",
    "imagenet_weights",
    "load_imagenet",
    "resnet34",
]
