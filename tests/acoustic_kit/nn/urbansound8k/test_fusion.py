"""Layers and a network that take a category beside the sound."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from acoustic_kit.nn import EmbeddingFusion, Film, MixedEmbedding


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


def test_at_the_start_it_changes_nothing() -> None:
    maps = torch.randn(3, 5, 2, 4)
    assert torch.equal(Film(6, 5)(maps, torch.randn(3, 6)), maps)


def test_it_scales_and_shifts_channels_by_the_condition() -> None:
    torch.manual_seed(0)
    layer, maps, condition = Film(6, 5), torch.randn(3, 5, 2, 4), torch.randn(3, 6)
    torch.nn.init.normal_(layer.linear.weight)
    found = layer(maps, condition)
    weight, bias = layer.linear.weight, layer.linear.bias
    for clip in range(3):
        for channel in range(5):
            scale = weight[channel] @ condition[clip] + bias[channel]
            shift = weight[5 + channel] @ condition[clip] + bias[5 + channel]
            torch.testing.assert_close(found[clip, channel], maps[clip, channel] * scale + shift)


def test_the_condition_has_a_gradient_once_weights_have_moved() -> None:
    layer, condition = Film(6, 5), torch.randn(3, 6, requires_grad=True)
    layer(torch.randn(3, 5, 2, 4), condition).sum().backward()
    assert condition.grad is not None
    assert not condition.grad.any()
    assert layer.linear.weight.grad is not None
    assert layer.linear.weight.grad.any()


def test_one_hot_rows_look_the_table_up() -> None:
    layer = MixedEmbedding(4, 8)
    which = torch.tensor([2, 0, 3, 2])
    torch.testing.assert_close(layer(torch.eye(4)[which]), torch.nn.functional.embedding(which, layer.table))


@settings(deadline=None, max_examples=30)
@given(share=st.floats(0, 1), first=st.integers(0, 3), second=st.integers(0, 3))
def test_mixing_categories_mixes_their_vectors(share: float, first: int, second: int) -> None:
    layer = MixedEmbedding(4, 8)
    one, other = torch.eye(4)[first], torch.eye(4)[second]
    mixed = layer((share * one + (1 - share) * other)[None])[0]
    torch.testing.assert_close(mixed, share * layer.table[first] + (1 - share) * layer.table[second])


def test_a_mixture_trains_each_vector_by_its_share() -> None:
    layer = MixedEmbedding(3, 4)
    layer(torch.tensor([[0.25, 0.75, 0.0]])).sum().backward()
    assert layer.table.grad is not None
    torch.testing.assert_close(layer.table.grad, torch.tensor([[0.25], [0.75], [0.0]]).expand(3, 4))


def test_no_shares_give_zeros() -> None:
    assert not MixedEmbedding(3, 4)(torch.zeros(2, 3)).any()
