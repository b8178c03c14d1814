"""Fixtures that tests of several rooms use."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_ast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of ASTForAudioClassification for inputs of (64, 32), 32 wide, two layers. Copy it to change it."""
    import torch
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    model = ASTForAudioClassification(ASTConfig(**shape, max_length=64, num_mel_bins=32))
    with torch.no_grad():
        for parameter in model.parameters():  # transformers starts tokens and biases at 0: too easy to get right
            parameter.add_(0.1 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("tiny_ast")
    model.save_pretrained(folder)
    ASTFeatureExtractor(num_mel_bins=32, max_length=64).save_pretrained(folder)
    return folder
