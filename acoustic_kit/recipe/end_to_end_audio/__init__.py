"""Augmentations of waves of End-to-End Audio Strikes Back (arXiv:2204.11479)."""
