"""Training through `torch.compile`."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from acoustic_kit.data.clips import FitResult, Fold
from acoustic_kit.device import Compute
from acoustic_kit.errors import AkitError
from acoustic_kit.training import Batches, Phase, constant, fit
from acoustic_kit.training.fabric import compiled


@pytest.fixture(autouse=True)
def _nothing_is_compiled_yet() -> None:
    torch.compiler.reset()


def use_backend(monkeypatch: pytest.MonkeyPatch, backend: Callable) -> None:
    monkeypatch.setattr(
        nn.Module,
        "compile",
        lambda net: setattr(net, "_compiled_call_impl", torch.compile(net._call_impl, backend=backend)),
    )


def trained(fold: Fold, net: nn.Module, *, through_compiler: bool) -> FitResult:
    clips = replace(fold.train, compute=Compute("cpu", compile=through_compiler))
    where = replace(fold, train=clips, folder=fold.folder / str(through_compiler))
    phases = [Phase(2, constant(0.03))]
    return fit(where, "stage", net, batches=Batches("mel", 8, 12), phases=phases, optimizer=torch.optim.Adam)


def test_compiled_training_ends_with_the_same_weights(
    fold: Fold, net: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = trained(fold, net(), through_compiler=False)
    graphs = []
    use_backend(monkeypatch, lambda graph, inputs: [graphs.append(graph), graph.forward][1])
    result = trained(fold, net(), through_compiler=True)
    assert graphs
    assert plain.notes == ()
    assert len(result.notes) == 1
    assert result.model._compiled_call_impl is None
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(result.model.state_dict()[name], value)


def test_a_failing_compiler_is_an_error_that_names_the_option(
    fold: Fold, net: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable:
        raise RuntimeError("no compiler here\nand more")

    use_backend(monkeypatch, fail)
    with pytest.raises(AkitError, match=r"no compiler here(.|\n)*--compile"):
        trained(fold, net(), through_compiler=True)


@pytest.mark.slow  # a C++ compiler runs
def test_torchs_own_compiler_gives_the_same_gradient() -> None:
    torch.manual_seed(0)
    net, x = (
        nn.Sequential(nn.Conv1d(4, 8, 3), nn.BatchNorm1d(8), nn.Flatten(), nn.Linear(112, 3)),
        torch.randn(16, 4, 16),
    )
    net(x).square().mean().backward()
    gradient = net[0].weight.grad.clone()
    net.zero_grad()
    with compiled(net, enabled=True):
        net(x).square().mean().backward()
    torch.testing.assert_close(net[0].weight.grad, gradient, rtol=1e-4, atol=1e-6)
