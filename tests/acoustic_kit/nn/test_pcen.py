import copy
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from acoustic_kit.nn import pcen_cpu
from acoustic_kit.nn.pcen import TrainablePcen, pcen

SIXTH = 1 / 6  # of UrbanSound8K's winner: hop 320 at 32 kHz, 0.06 s

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 9), st.integers(1, 200))
SEEDS = st.integers(0, 2**32 - 1)
SCALARS = st.tuples(st.floats(0.01, 0.99), st.floats(0.1, 5.0), st.floats(0.05, 1.0))
EXTRA = st.sampled_from([0.0, 1e-6, 1e-2])


@pytest.fixture(scope="module")
def reference(originals: Callable[[str], dict]) -> dict[str, np.ndarray]:
    """PCEN of a clip by the original network's layer."""
    return originals("pcen_public.npz")


@pytest.fixture
def threads() -> Iterator[None]:
    """Three threads, and work enough for each."""
    before = torch.get_num_threads(), pcen_cpu.CELLS_PER_THREAD
    torch.set_num_threads(3)
    pcen_cpu.CELLS_PER_THREAD = 10
    yield
    torch.set_num_threads(before[0])
    pcen_cpu.CELLS_PER_THREAD = before[1]


def random_energy(shape: tuple[int, ...], seed: int) -> Tensor:
    """Energies over four orders of magnitude, and silence: float64."""
    random = np.random.default_rng(seed)
    return torch.from_numpy(10.0 ** random.uniform(-3, 1, shape) * (random.random(shape) < 0.9))


def time_loop(energy: Tensor, gain: Tensor, bias: Tensor, power: Tensor, b: Tensor, eps: float, extra: float) -> Tensor:
    """The formula, literally."""
    smooth = [energy[..., 0]]
    for t in range(1, energy.shape[-1]):
        smooth.append((1 - b) * smooth[-1] + b * energy[..., t])
    divisor = (eps + torch.stack(smooth, dim=-1)) ** gain + extra
    return (energy / divisor + bias) ** power - bias**power


def with_gradients(function: Callable[..., Tensor], inputs: list[Tensor], *rest: object) -> list[Tensor]:
    """What a function returns, and the gradient of a fixed weighted sum of it with respect to each input."""
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    out = function(*inputs, *rest)
    weights = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).sin().reshape(out.shape)
    return [out.detach(), *torch.autograd.grad(out, inputs, weights)]


def scalars(values: tuple[float, ...], dtype: torch.dtype) -> list[Tensor]:
    return [torch.tensor(value, dtype=dtype) for value in values]


@settings(deadline=None, max_examples=40)
@given(SHAPES, SEEDS, SCALARS, st.floats(0.02, 1.0), EXTRA)
def test_both_ways_are_the_time_loop(
    shape: tuple[int, ...], seed: int, values: tuple[float, float, float], b: float, extra: float
) -> None:
    """In float64 through torch, in float32 through the kernels; values and all gradients."""
    inputs = [x.float().double() for x in (random_energy(shape, seed), *scalars(values, torch.float64))]
    weight = torch.tensor(b).double()
    exact = with_gradients(time_loop, inputs, weight, 1e-6, extra)
    for ours, theirs in zip(with_gradients(pcen, inputs, weight, 1e-6, extra), exact, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)

    single = with_gradients(pcen, [x.float() for x in inputs], weight.float(), 1e-6, extra)
    torch.testing.assert_close(single[0].double(), exact[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(single[1].double(), exact[1], rtol=1e-4, atol=1e-4 * exact[1].abs().max().item())
    for ours, theirs, size in zip(single[2:], exact[2:], summed_sizes(inputs, weight, extra), strict=True):
        assert abs(ours.item() - theirs.item()) <= 1e-5 * size


def summed_sizes(inputs: list[Tensor], b: Tensor, extra: float) -> list[float]:
    """For gain, bias and power: the sum of the sizes of what each cell adds to the gradient, which may cancel."""
    cells = [inputs[0], *(x.expand(inputs[0].shape) for x in inputs[1:])]
    gradients = with_gradients(time_loop, cells, b, 1e-6, extra)[2:]
    return [g.abs().sum().item() + 0.1 * inputs[0].numel() for g in gradients]


@pytest.mark.parametrize("extra_eps", [0.0, 1e-3])
def test_gradients_hold_twice(extra_eps: float) -> None:
    inputs = [random_energy((2, 3, 7), 0) + 1e-3, *scalars((0.9, 1.5, 0.4), torch.float64)]
    inputs = [x.requires_grad_() for x in inputs]
    b = torch.tensor(0.3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda *x: pcen(*x, b, 1e-2, extra_eps), inputs)
    assert torch.autograd.gradgradcheck(lambda *x: pcen(*x, b, 1e-2, extra_eps), inputs)


@pytest.mark.parametrize("with_energy", [True, False])
def test_the_kernels_gradient_has_a_gradient(with_energy: bool) -> None:
    def penalty(dtype: torch.dtype) -> list[Tensor]:
        inputs = [random_energy((2, 3, 50), 0).to(dtype) + 0.1, *scalars((0.9, 1.5, 0.4), dtype)]
        inputs = [x.requires_grad_(with_energy or i > 0) for i, x in enumerate(inputs)]
        wanted = inputs if with_energy else inputs[1:]
        turned = inputs[0].transpose(0, 1)
        out = pcen(turned, *inputs[1:], torch.tensor(0.3, dtype=dtype)).square().sum()
        first = torch.autograd.grad(out, wanted, create_graph=True)
        return list(torch.autograd.grad(sum(g.square().sum() for g in first), wanted))

    for ours, theirs in zip(penalty(torch.float32), penalty(torch.float64), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-3, atol=1e-4 * theirs.abs().max().item())


@pytest.mark.parametrize(
    ("name", "settings_"),
    [
        ("trainable_init", {}),
        ("trainable_init_extra_eps", {"extra_eps": 1e-6}),
        ("trainable_alpha1.3_delta-0.7_r0.25", {"gain": 1.3, "bias": -0.7, "power": 0.25}),
    ],
)
def test_values_are_the_original_layers(reference: dict, name: str, settings_: dict[str, float]) -> None:
    layer, mel = TrainablePcen(SIXTH, **settings_), torch.from_numpy(reference["mel"])[None, None]
    assert layer.b.item() == pytest.approx(float(reference["s"]), abs=1e-9)
    np.testing.assert_allclose(layer(mel)[0, 0].detach(), reference[name], atol=1e-5)
    np.testing.assert_allclose(layer.double()(mel.double())[0, 0].detach(), reference[name], atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_the_original_layers(reference: dict, dtype: torch.dtype) -> None:
    layer = TrainablePcen(SIXTH).to(dtype)
    mean_square = layer(torch.from_numpy(reference["mel"]).to(dtype)).square().mean()
    mean_square.backward()
    assert mean_square.item() == pytest.approx(float(reference["mean_square"]), rel=1e-5)
    ours = [layer.gain.grad.item(), layer.bias.grad.item(), layer.power.grad.item()]
    np.testing.assert_allclose(ours, reference["grad_alpha_delta_r_of_mean_square"], rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("raw", "effective", "still"),
    [
        ({"gain": 1.3}, (0.99, 2.0, 0.5), "gain"),
        ({"gain": -1.0}, (0.01, 2.0, 0.5), "gain"),
        ({"power": 1.5}, (0.98, 2.0, 1.0), "power"),
        ({"power": -0.5}, (0.98, 2.0, 0.01), "power"),
        ({"bias": -0.7}, (0.98, 0.7, 0.5), None),
    ],
)
def test_scalars_out_of_bounds_are_brought_back_and_do_not_move(
    raw: dict, effective: tuple[float, ...], still: str | None, dtype: torch.dtype
) -> None:
    layer, energy = TrainablePcen(SIXTH, **raw).to(dtype), random_energy((1, 4, 60), 1).to(dtype)
    out = layer(energy)
    gain, bias, power = scalars(effective, dtype)
    torch.testing.assert_close(
        out, time_loop(energy, gain, bias + 1e-6, power, layer.b, 1e-6, 0.0), rtol=1e-4, atol=1e-5
    )
    out.sum().backward()
    assert still is None or getattr(layer, still).grad == 0
    assert still == "gain" or layer.gain.grad != 0


def test_it_has_three_scalars_and_one_buffer() -> None:
    layer = TrainablePcen(SIXTH)
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {"gain": (), "bias": (), "power": ()}
    assert {name: tuple(x.shape) for name, x in layer.named_buffers()} == {"b": ()}
    assert set(layer.state_dict()) == {"gain", "bias", "power", "b"}


def test_threads_give_what_one_thread_gives(threads: None) -> None:
    inputs = [random_energy((3, 7, 40), 2).float(), *scalars((0.98, 2.0, 0.5), torch.float32)]
    several = with_gradients(pcen, inputs, torch.tensor(SIXTH))
    torch.set_num_threads(1)
    for ours, theirs in zip(several, with_gradients(pcen, inputs, torch.tensor(SIXTH)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_nothing_is_saved_where_no_gradient_is_wanted() -> None:
    layer, energy = TrainablePcen(SIXTH), random_energy((2, 1, 30, 50), 3).float()
    with torch.no_grad():
        out = layer(energy)
    assert not out.requires_grad
    torch.testing.assert_close(out, layer(energy).detach(), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    layer, energy = TrainablePcen(SIXTH), random_energy((1, 4, 60), 4).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(energy)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, layer(energy.float()), rtol=0, atol=0)


def test_views_and_gradients_of_any_layout_are_taken() -> None:
    layer, energy = TrainablePcen(SIXTH), random_energy((2, 50, 1, 6), 5).float()
    turned = energy.permute(0, 2, 3, 1).requires_grad_()
    layer(turned).sum().backward()  # the gradient of a sum is one number, expanded
    straight = turned.detach().contiguous().requires_grad_()
    (layer(straight) * torch.ones_like(straight)).sum().backward()
    torch.testing.assert_close(turned.grad, straight.grad)


def test_it_can_be_copied_and_compiled_models_take_the_torch_way() -> None:
    layer, energy = copy.deepcopy(TrainablePcen(SIXTH)), random_energy((1, 3, 40), 6).float()
    exported = torch.export.export(layer, (energy,)).module()
    torch.testing.assert_close(exported(energy), layer(energy), rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
def test_a_gpu_gives_what_the_cpu_gives() -> None:
    inputs = [random_energy((4, 1, 64, 401), 7).float(), *scalars((0.98, 2.0, 0.5), torch.float32)]
    on_cpu = with_gradients(pcen, inputs, torch.tensor(SIXTH))
    on_gpu = with_gradients(pcen, [x.cuda() for x in inputs], torch.tensor(SIXTH, device="cuda"))
    for ours, theirs in zip(on_gpu, on_cpu, strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())
