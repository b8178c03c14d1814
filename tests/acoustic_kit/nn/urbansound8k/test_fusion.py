"""The network that sees a category beside the sound."""

import torch
from torch import nn

from acoustic_kit.nn import EmbeddingFusion


def make_net() -> EmbeddingFusion:
    backbone = nn.Conv2d(1, 4, 3, padding=1)
    return EmbeddingFusion(
        nn.Unflatten(2, (5, -1)), backbone, 4, 3, n_categories=2, embedding_width=6, dropout=0.5
    ).eval()


def test_the_head_sees_the_embedding_of_the_category() -> None:
    net, waves = make_net(), torch.randn(4, 1, 50)
    shares = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    expected = net(waves) + net.embedding(shares) @ net.head.output.weight[:, 8:].T
    torch.testing.assert_close(net(waves, shares), expected)


def test_the_embedding_trains_with_the_rest() -> None:
    net = make_net().train()
    net(torch.randn(4, 1, 50), torch.eye(2)[[0, 1, 1, 0]]).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.embedding.parameters())
