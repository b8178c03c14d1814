"""Bundles: folders with all that a notebook needs to predict without a network."""

from acoustic_kit.prediction.bundle.bundle import Bundle, make_bundle

__all__ = ["Bundle", "make_bundle"]
