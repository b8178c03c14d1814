"""Embeddings of pretrained models: the feature, and one module for each kind of model."""
