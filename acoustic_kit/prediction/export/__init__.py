"""Runs and blends as ONNX files, which need neither akit nor torch."""

from acoustic_kit.prediction.export.export import export_model
from acoustic_kit.prediction.export.onnx_engine import OnnxModel

__all__ = ["OnnxModel", "export_model"]
