"""FiLM against a plain loop."""

import torch

from acoustic_kit.nn import Film


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
