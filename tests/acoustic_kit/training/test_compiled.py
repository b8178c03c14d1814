"""Compiling a network where it pays."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from acoustic_kit.training import Batches, Phase, constant, fit, loop
from acoustic_kit.training import compiled as trial
from acoustic_kit.training.compiled import compile_if_faster, uncompiled
from acoustic_kit.training.fold import FitResult, Fold


@pytest.fixture(autouse=True)
def _nothing_is_compiled_yet() -> None:
    torch.compiler.reset()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.dropout = nn.Conv1d(4, 8, 3), nn.BatchNorm1d(8), nn.Dropout(0.3)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.norm(self.conv(x))).mean(dim=2))


def training() -> tuple[Net, Callable[[], None]]:
    torch.manual_seed(0)
    net = Net()
    x = torch.randn(16, 4, 16)
    return net, lambda: net(x).square().mean().backward()


def fast_backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable:
    return graph.forward


def failing_backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable:
    raise RuntimeError("no compiler here\nand more")


def state(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("backend", [fast_backend, failing_backend])
def test_a_trial_leaves_weights_buffers_gradients_and_random_numbers_as_they_were(backend: Callable) -> None:
    net, step = training()
    before, random = state(net), torch.get_rng_state()
    assert compile_if_faster(net, step, 10, worth_trying=0, backend=backend)
    assert same(before, net.state_dict())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(p.grad is None for p in net.parameters())


def test_what_cannot_be_compiled_trains_as_it_is() -> None:
    net, step = training()
    said = compile_if_faster(net, step, 10, worth_trying=0, backend=failing_backend)
    assert said is not None
    assert said.startswith("not compiled: torch.compile failed (")
    assert "no compiler here" in said
    assert "\n" not in said
    step()
    assert net.conv.weight.grad is not None


def test_a_short_training_is_not_compiled() -> None:
    net, step = training()
    assert compile_if_faster(net, step, 10, worth_trying=3600, backend=failing_backend) is None


@pytest.mark.parametrize(("compiled", "kept"), [(0.5, True), (1.0, False), (2.0, False)])
def test_it_is_kept_where_steps_are_faster(compiled: float, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    net, step = training()
    times = iter([1.0, 60.0, compiled])
    monkeypatch.setattr(trial, "_seconds", lambda *_: [step(), next(times)][1])
    said = compile_if_faster(net, step, 1000, backend=fast_backend)
    assert said is not None
    assert said.startswith("compiled: 2.00 times" if kept else f"not compiled: {1 / compiled:.2f} times")
    assert (net._compiled_call_impl is not None) == kept
    assert set(net.state_dict()) == set(Net().state_dict())
    assert uncompiled(net)._compiled_call_impl is None


def test_a_training_that_tries_it_ends_with_the_weights_of_one_that_does_not(
    fold: Fold, net: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(where: Fold) -> FitResult:
        phases = [Phase(2, constant(0.03))]
        return fit(where, "stage", net(), batches=Batches("mel", 8, 12), phases=phases, optimizer=torch.optim.Adam)

    plain = trained(replace(fold, folder=fold.folder / "plain"))
    assert not plain.notes
    monkeypatch.setattr(loop, "COMPILED_ON", ("cpu",))
    monkeypatch.setattr(loop, "compile_if_faster", partial(compile_if_faster, worth_trying=0, backend=fast_backend))
    monkeypatch.setattr(trial, "GAIN", 0.0)  # kept, however fast
    compiled = trained(fold)
    assert [note.partition(":")[0] for note in compiled.notes] == ["stage"]
    assert "compiled: " in compiled.notes[0]
    assert compiled.model._compiled_call_impl is None
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(compiled.model.state_dict()[name], value)


@pytest.mark.slow  # a C++ compiler runs
def test_with_torchs_own_compiler_the_steps_are_those_of_the_network() -> None:
    net, step = training()
    net.dropout.p = 0.0
    step()
    gradient = net.conv.weight.grad.clone()
    net.zero_grad()
    said = compile_if_faster(net, step, 10, worth_trying=0)
    assert said is not None
    assert "failed" not in said
    step()
    torch.testing.assert_close(net.conv.weight.grad, gradient, rtol=1e-4, atol=1e-6)
