"""The head of sound event detection."""

import pytest
import torch
from torch.nn import functional

from acoustic_kit.nn import BandPooling, ClipOutput, FrameAttentionHead, FrameNet, FrameOutput


def test_the_head_equals_the_published_one_with_the_same_weights() -> None:
    """`Cnn14_DecisionLevelAtt` of PANNs after its pooling over bands, and the `AttBlock` of BirdCLEF."""
    torch.manual_seed(0)
    head, x = FrameAttentionHead(6, 4, hidden=5).eval(), torch.randn(2, 6, 7)
    smooth = functional.max_pool1d(x, kernel_size=3, stride=1, padding=1)
    smooth = smooth + functional.avg_pool1d(x, kernel_size=3, stride=1, padding=1)
    hidden = functional.relu_(functional.linear(smooth.transpose(1, 2), head.hidden.weight, head.hidden.bias))
    hidden = hidden.transpose(1, 2)
    norm_att = torch.softmax(
        torch.tanh(functional.conv1d(hidden, head.attention.weight[:, :, None], head.attention.bias)), dim=-1
    )
    cla = functional.conv1d(hidden, head.output.weight[:, :, None], head.output.bias)
    output = head(x)
    assert output.logits.shape == (2, 7, 4)
    torch.testing.assert_close(output.logits, cla.transpose(1, 2))
    torch.testing.assert_close(output.pooled("attention"), torch.sum(norm_att * cla, dim=2))
    torch.testing.assert_close(output.pooled("max"), cla.amax(dim=2))


@pytest.mark.parametrize("kind", ["mean", "gem"])
def test_bands_are_pooled_and_frames_are_not(kind: str) -> None:
    maps = torch.rand(2, 3, 4, 5) + 0.1
    pooled = BandPooling(kind)(maps)  # type: ignore[arg-type]
    expected = maps.mean(dim=2) if kind == "mean" else (maps**3).mean(dim=2) ** (1 / 3)
    torch.testing.assert_close(pooled, expected)


def test_the_power_of_the_generalized_mean_is_trained() -> None:
    pooling = BandPooling("gem")
    pooling(torch.tensor([[[[-1.0], [0.0], [2.0]]]])).sum().backward()
    assert pooling.power is not None
    assert pooling.power.grad is not None
    assert torch.isfinite(pooling.power.grad)
    assert pooling.power.grad != 0


class Frames(FrameNet):
    """Inputs (clips, frames, 2 · classes) are the outputs of the frames."""

    def frame_output(self, x: torch.Tensor) -> FrameOutput:
        return FrameOutput(*x.chunk(2, dim=2))


@pytest.mark.parametrize("how", ["attention", "max"])
def test_in_training_both_outputs_of_a_clip_are_returned(how: ClipOutput) -> None:
    net, x = Frames(how), torch.randn(2, 5, 6)
    output = net.frame_output(x)
    torch.testing.assert_close(net.train()(x), torch.cat([output.pooled("attention"), output.pooled("max")], dim=1))
    torch.testing.assert_close(net.eval()(x), output.pooled(how))
