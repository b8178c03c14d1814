"""Sharpness-aware minimisation, against steps worked out by hand."""

import math

import pytest
import torch
from torch import nn

from acoustic_kit.training import Sam


def test_a_step_is_the_one_worked_out_by_hand() -> None:
    # f(w) = w₁² + 2 w₂², so the gradient is (2 w₁, 4 w₂); at (3, 1) it is (6, 4), its norm √52.
    w = nn.Parameter(torch.tensor([3.0, 1.0], dtype=torch.float64))
    sam = Sam(torch.optim.SGD([w], lr=0.1), rho=0.5)
    (w[0] ** 2 + 2 * w[1] ** 2).backward()
    sam.ascend()
    uphill = [3 + 0.5 * 6 / math.sqrt(52), 1 + 0.5 * 4 / math.sqrt(52)]
    assert w.tolist() == pytest.approx(uphill)
    assert w.grad is None
    (w[0] ** 2 + 2 * w[1] ** 2).backward()
    sam.descend()
    assert w.tolist() == pytest.approx([3 - 0.1 * 2 * uphill[0], 1 - 0.1 * 4 * uphill[1]])
    assert w.grad is None


def test_sam_norm_spans_parameters_and_skips_those_without_grad() -> None:
    a, b, idle = (nn.Parameter(torch.tensor(x)) for x in (3.0, 4.0, 5.0))
    sam = Sam(torch.optim.SGD([{"params": [a]}, {"params": [b, idle]}], lr=0.0), rho=1.0)
    (3 * a + 4 * b).backward()
    sam.ascend()
    assert [p.item() for p in (a, b, idle)] == pytest.approx([3 + 0.6, 4 + 0.8, 5])
    sam.descend()
    assert [p.item() for p in (a, b, idle)] == pytest.approx([3, 4, 5])


def test_without_a_radius_it_is_the_optimiser_itself() -> None:
    def train(rho: float | None) -> torch.Tensor:
        torch.manual_seed(0)
        net, x, y = nn.Linear(4, 2), torch.randn(16, 4), torch.randint(2, (16,))
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
        sam = Sam(optimizer, rho) if rho else None
        for _ in range(5):
            nn.functional.cross_entropy(net(x), y).backward()
            if sam:
                sam.ascend()
                nn.functional.cross_entropy(net(x), y).backward()
                sam.descend()
            else:
                optimizer.step()
                optimizer.zero_grad()
        return net.weight.detach()

    torch.testing.assert_close(train(1e-7), train(None), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(train(0.5), train(None), atol=1e-3)


def test_a_gradient_of_zero_moves_nothing() -> None:
    w = nn.Parameter(torch.zeros(3))
    sam = Sam(torch.optim.SGD([w], lr=1.0), rho=0.1)
    (w * 0).sum().backward()
    sam.ascend()
    assert w.tolist() == [0, 0, 0]


@pytest.mark.parametrize("rho", [0.0, -1.0])
def test_a_radius_must_be_positive(rho: float) -> None:
    with pytest.raises(ValueError, match="rho"):
        Sam(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0), rho)
