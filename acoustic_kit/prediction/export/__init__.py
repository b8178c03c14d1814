"""Runs and blends as ONNX files, which need neither akit nor torch."""

from acoustic_kit.prediction.export.export import export_model
from acoustic_kit.prediction.export.network_graph import NetworkGraph, export_networks
from acoustic_kit.prediction.export.onnx_engine import OnnxModel

__all__ = ["NetworkGraph", "OnnxModel", "export_model", "export_networks"]
