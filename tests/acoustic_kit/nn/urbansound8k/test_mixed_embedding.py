"""The embedding of mixed categories."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from acoustic_kit.nn import MixedEmbedding


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
