"""Padding as TensorFlow's, against its definition and against torch's where the two agree."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.models import mobilenet_v2

from acoustic_kit.nn.same_padding import SameConv2d, use_same_padding


@settings(deadline=None, max_examples=60)
@given(n=st.integers(1, 40), kernel=st.integers(1, 7), stride=st.integers(1, 4), dilation=st.integers(1, 3))
def test_its_output_has_n_over_stride_frames_rounded_up(n: int, kernel: int, stride: int, dilation: int) -> None:
    conv = SameConv2d(1, 1, (1, kernel), (1, stride), dilation=(1, dilation))
    assert conv(torch.zeros(1, 1, 3, n)).shape == (1, 1, 3, math.ceil(n / stride))


@pytest.mark.parametrize(("n", "before", "after"), [(8, 0, 1), (7, 1, 1)])
@pytest.mark.parametrize("axis", [0, 1])
def test_even_lengths_are_padded_at_the_end_odd_on_both_sides(n: int, before: int, after: int, axis: int) -> None:
    conv = SameConv2d(2, 4, 3, 2, groups=2)
    plain = nn.Conv2d(2, 4, 3, 2, groups=2)
    plain.load_state_dict(conv.state_dict())
    shape, around = [(n, 5), (5, n)][axis], [(1, 1, before, after), (before, after, 1, 1)][axis]
    x = torch.randn(3, 2, *shape)
    torch.testing.assert_close(conv(x), plain(nn.functional.pad(x, around)))


def test_with_stride_1_it_is_torchs_own() -> None:
    conv = SameConv2d(2, 3, 5, padding=2)
    x = torch.randn(1, 2, 9, 10)
    torch.testing.assert_close(conv(x), nn.Conv2d.forward(conv, x))


def test_a_network_keeps_its_weights_and_its_random_numbers() -> None:
    net = mobilenet_v2(width_mult=0.25)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    state = torch.get_rng_state()
    use_same_padding(net)
    assert torch.equal(state, torch.get_rng_state())
    strided = [m for m in net.modules() if isinstance(m, nn.Conv2d) and max(m.stride) > 1]
    assert len(strided) == 5
    assert all(isinstance(conv, SameConv2d) for conv in strided)
    assert sum(isinstance(m, SameConv2d) for m in net.modules()) == 5
    assert list(net.state_dict()) == list(before)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    net.train()(torch.randn(2, 3, 33, 64)).sum().backward()
    assert all(conv.weight.grad is not None for conv in strided)
