"""The Triton kernels of the trainable PCEN: run by Triton's interpreter on the CPU, and compiled for GPUs."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from acoustic_kit.nn import pcen as pcen_module
from acoustic_kit.nn.pcen import TrainablePcen

pytest.importorskip("triton", reason="Triton is not installed, and its kernels are not used")

# Values and gradients against the numba kernels, and against a loop over time in float64.
COMPARE = """
import torch
from acoustic_kit.nn import pcen as module, pcen_cpu, pcen_triton

def with_gradients(function, inputs, *rest):
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    out = function(*inputs, *rest)
    weights = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).sin().reshape(out.shape)
    return [out.detach(), *torch.autograd.grad(out, inputs, weights)]

def time_loop(energy, gain, bias, power, b, eps, extra):
    smooth = [energy[..., 0]]
    for t in range(1, energy.shape[-1]):
        smooth.append((1 - b) * smooth[-1] + b * energy[..., t])
    return (energy / ((eps + torch.stack(smooth, dim=-1)) ** gain + extra) + bias) ** power - bias**power

for stretch, shape, extra, b in [
    (1024, (1, 1), 0.0, 0.3), (1024, (3, 1, 1), 1e-3, 1.0), (1024, (2, 3, 17), 0.0, 1 / 6), (64, (7, 13), 0.0, 0.5),
    (16, (2, 16), 1e-3, 0.05), (16, (3, 37), 0.0, 1 / 6), (64, (1, 2, 65), 1e-2, 0.05),
]:
    pcen_triton.STRETCH = stretch
    random = torch.Generator().manual_seed(len(shape) + shape[-1])
    energy = 10.0 ** (4 * torch.rand(shape, generator=random) - 3) * (torch.rand(shape, generator=random) < 0.9)
    inputs = [energy, *map(torch.tensor, (0.9, 1.5, 0.4))]
    found = {}
    for kernels in (pcen_triton, pcen_cpu):
        module._kernels_for = lambda energy: kernels
        found[kernels] = with_gradients(module.pcen, inputs, torch.tensor(b), 1e-6, extra)
    exact = with_gradients(time_loop, [x.double() for x in inputs], torch.tensor(b).double(), 1e-6, extra)
    for ours, numbas, truth in zip(*found.values(), exact, strict=True):
        size = 1e-5 + 1e-4 * truth.abs().max().item()
        torch.testing.assert_close(ours.double(), truth, rtol=1e-4, atol=size)
        torch.testing.assert_close(ours, numbas, rtol=1e-4, atol=size)
    assert not any(torch.equal(x, torch.zeros_like(x)) for x in found[pcen_triton][2:]) or energy.sum() == 0
    with torch.no_grad():
        module._kernels_for = lambda energy: pcen_triton
        torch.testing.assert_close(module.pcen(*inputs, torch.tensor(b), 1e-6, extra), found[pcen_triton][0])
print("compared")
"""

# No GPU is needed for that: Triton brings NVIDIA's assembler.
COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from acoustic_kit.nn import pcen_triton

def compiled(kernel, capability, **constants):
    integers = {"rows", "frames"}
    kind = lambda name: "i32" if name in integers else "fp32" if name in {"eps", "extra_eps"} else "*fp32"
    signature = {name: "constexpr" if name in constants else kind(name) for name in kernel.arg_names}
    target = GPUTarget("cuda", capability, 32)
    return triton.compile(ASTSource(kernel, signature, constexprs=constants), target=target).asm["cubin"]

for capability in (75, 80, 90):
    for rows, frames in ((2048, 401), (64, 5000), (3, 1)):
        tile = pcen_triton._tiles(rows, frames)[1]
        assert compiled(pcen_triton._forward, capability, **tile, KEEP=True)
        assert compiled(pcen_triton._backward, capability, **tile)
print("compiled")
"""


def run(script: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_values_and_gradients_equal_cpu_kernels_and_a_loop() -> None:
    assert run(COMPARE, TRITON_INTERPRET="1") == "compared"


@pytest.mark.slow
def test_the_kernels_compile_for_gpus(tmp_path: Path) -> None:
    assert run(COMPILE, TRITON_CACHE_DIR=str(tmp_path)) == "compiled"


def test_where_triton_cannot_make_kernels_a_warning_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pcen_module._triton_works.cache_clear()
    monkeypatch.setitem(sys.modules, "acoustic_kit.nn.pcen_triton", None)  # importing it fails
    monkeypatch.delattr("acoustic_kit.nn.pcen_triton", raising=False)
    device = torch.device("cpu")
    with pytest.warns(UserWarning, match="PCEN is computed without its Triton kernel"):
        assert not pcen_module._triton_works(device)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not pcen_module._triton_works(device)
    pcen_module._triton_works.cache_clear()


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(16, 1, 128, 401), (2, 3, 64, 5000), (5, 1), (1, 1, 7, 1023)])
def test_a_gpu_gives_what_a_loop_in_float64_gives(shape: tuple[int, ...]) -> None:
    energy = torch.rand(shape, generator=torch.Generator().manual_seed(0)) ** 4
    weights = torch.linspace(-1, 2, energy.numel()).sin().reshape(shape)
    found = []
    for device, dtype in (("cuda", torch.float32), ("cpu", torch.float64)):
        layer = TrainablePcen(1 / 6).to(device, dtype)
        x = energy.to(device, dtype).requires_grad_()
        out = layer(x)
        (out * weights.to(device, dtype)).sum().backward()
        gradients = [x.grad, layer.gain.grad, layer.bias.grad, layer.power.grad]
        found.append([y.double().cpu() for y in (out.detach(), *gradients)])
    for ours, truth in zip(*found, strict=True):
        torch.testing.assert_close(ours, truth, rtol=1e-4, atol=1e-4 * truth.abs().max().item() + 1e-5)


@pytest.mark.gpu
def test_a_gpu_uses_the_kernels_and_does_not_wait_for_them() -> None:
    energy = torch.rand(4, 128, 401, device="cuda", requires_grad=True)
    layer = TrainablePcen(1 / 6).cuda()
    layer(energy).sum().backward()  # compiles
    kernels = pcen_module._kernels_for(energy)
    assert kernels is not None
    assert kernels.__name__.endswith("pcen_triton")
    torch.cuda.set_sync_debug_mode("error")
    try:
        layer(energy).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
