"""Batch normalisation over two processes is that over one, with all clips."""

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, nn

from acoustic_kit.training.shared_norm import SharedBatchNorm, share_batch_norm

CPU = torch.device("cpu")
SHAPES = {"2d": (7, 3, 4, 5), "1d": (7, 3), "1d with time": (7, 3, 6)}
LAYERS = {  # name → shape of the batch, layer
    "plain": ("2d", {}),
    "one value a clip": ("1d", {"momentum": 0.3}),
    "without weights": ("1d with time", {"affine": False}),
    "the mean of all batches": ("2d", {"momentum": None}),
    "no running statistics": ("1d", {"track_running_stats": False}),
}
OWN = [slice(0, 5), slice(5, 7)]  # which clips each process has


def layer(name: str) -> nn.Module:
    shape, options = LAYERS[name]
    make = nn.BatchNorm2d if shape == "2d" else nn.BatchNorm1d
    torch.manual_seed(1)
    found = make(3, **options)
    for parameter in found.parameters():
        nn.init.normal_(parameter)
    return found


def pass_through(found: nn.Module, name: str, own: slice) -> dict[str, torch.Tensor]:
    """Two steps: outputs, gradients and state."""
    torch.manual_seed(2)
    result = {}
    for step in range(2):
        x = (5 + 2 * torch.randn(SHAPES[LAYERS[name][0]]))[own].requires_grad_()
        wanted = torch.randn(SHAPES[LAYERS[name][0]])[own]
        out = found(x)
        (out * wanted).sum().backward()
        assert x.grad is not None
        result |= {f"x {step}": out.detach(), f"gradient {step}": x.grad}
    result |= {f"weight {n}": p.grad for n, p in found.named_parameters() if p.grad is not None}
    result |= {f"state {n}": tensor for n, tensor in found.state_dict().items()}
    if found.running_mean is not None:
        result["x evaluated"] = found.eval()(x).detach()
    return result


def process(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    found = {}
    for name in LAYERS:
        shared = share_batch_norm(nn.Sequential(layer(name)), CPU)[0]
        assert isinstance(shared, SharedBatchNorm)
        found[name] = pass_through(shared, name, OWN[rank])
    try:
        SharedBatchNorm(3)(torch.zeros(1 - rank, 3))
    except ValueError as error:
        found["one clip in all"] = {"error": str(error)}
    torch.save(found, Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes found, by layer."""
    folder = tmp_path_factory.mktemp("processes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(process, (port, str(folder)), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", LAYERS)
def test_two_processes_normalise_as_one_does(of_two: list[dict[str, Any]], name: str) -> None:
    plain = layer(name)
    expected = pass_through(plain, name, slice(0, 7))
    for own, found in zip(OWN, (one[name] for one in of_two), strict=True):
        assert found.keys() == expected.keys()
        for key, tensor in expected.items():
            if key.startswith("weight"):  # each has the gradient of its own clips
                both = sum(one[name][key] for one in of_two)
                torch.testing.assert_close(both, tensor, atol=1e-4, rtol=1e-5)
            else:
                wanted = tensor[own] if key.startswith(("x", "gradient")) else tensor
                torch.testing.assert_close(found[key], wanted, atol=1e-5, rtol=1e-5)


def test_one_clip_in_all_processes_has_no_variance(of_two: list[dict[str, Any]]) -> None:
    assert all("more than 1 value" in found["one clip in all"]["error"] for found in of_two)


def test_the_names_of_tensors_stay() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Sequential(nn.BatchNorm1d(3)))
    names = list(net.state_dict())
    assert list(share_batch_norm(net, CPU).state_dict()) == names


@pytest.mark.gpu
def test_on_a_gpu_the_layers_are_torchs() -> None:
    net = share_batch_norm(nn.Sequential(nn.BatchNorm2d(2)), torch.device("cuda"))
    assert isinstance(net[0], nn.SyncBatchNorm)
