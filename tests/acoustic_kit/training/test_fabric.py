"""Which device and precision is chosen, and errors for a missing one. The GPUs are stand-ins."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from acoustic_kit.device import Compute
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.recipe.recipe_file import RecipeFile, names_line
from acoustic_kit.training.checkpoint import optimizer_tensors, restore_optimizer
from acoustic_kit.training.fabric import describe, make_fabric, naming_lost_process, use_fused


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[int, int]]]:
    """Names and capabilities of this machine's GPUs, to be filled."""
    make_fabric.cache_clear()  # an earlier test in this process had other GPUs
    there: list[tuple[str, tuple[int, int]]] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(there))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(there))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda n: there[n][0])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda n: there[n][1])
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "sm_90"])
    return there


@pytest.fixture
def torchrun(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A function that sets the variables by which torchrun tells a process how many there are."""

    def call(processes: int) -> None:
        monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
        if processes > 1:
            monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
            monkeypatch.setenv("WORLD_SIZE", str(processes))
            monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))

    return call


NEW, OLD, P100 = ("New GPU", (9, 0)), ("Old GPU", (7, 5)), ("Tesla P100", (6, 0))


@pytest.mark.parametrize(
    ("there", "asked", "processes", "said"),
    [
        ([], Compute(), 1, "cpu, float32"),
        ([], Compute(precision="bf16"), 1, "cpu, bf16"),
        ([], Compute(), 3, "cpu, float32, 3 processes"),
        ([NEW], Compute(), 1, "New GPU, bf16"),
        ([NEW], Compute("cuda", "32"), 1, "New GPU, float32"),
        ([NEW], Compute("cpu"), 1, "cpu, float32"),
        ([], Compute(precision="fp16"), 1, "cpu, fp16"),
        ([OLD], Compute(), 1, "Old GPU, fp16"),
        ([OLD], Compute(precision="32"), 1, "Old GPU, float32"),
        ([NEW], Compute(precision="fp16"), 1, "New GPU, fp16"),
        ([OLD, NEW], Compute("cuda:1"), 1, "New GPU, bf16"),
        ([NEW, OLD], Compute(), 2, "New GPU, fp16, 2 processes"),
        ([P100, NEW], Compute("cuda:1"), 1, "New GPU, bf16"),
    ],
)
def test_the_device_is_described(
    gpus: list, torchrun: Callable[[int], None], there: list, asked: Compute, processes: int, said: str
) -> None:
    gpus += there
    torchrun(processes)
    assert describe(asked) == said


@pytest.mark.parametrize(
    ("there", "asked", "processes", "message"),
    [
        ([], Compute("cuda"), 1, "no CUDA device"),
        ([NEW, OLD], Compute("cuda:3"), 1, r"no cuda:3. This machine has cuda:0 \(New GPU\), cuda:1 \(Old GPU\)"),
        ([NEW, NEW], Compute(), 4, "4 processes need as many GPUs. This machine has cuda:0"),
        ([NEW, NEW], Compute("cuda:1"), 2, "cuda:1 is one GPU, for 2 processes"),
        ([OLD], Compute(precision="bf16"), 1, r"Old GPU .*7\.5\) has no bf16. Use --precision 32"),
        ([NEW, OLD], Compute(precision="bf16"), 2, "Old GPU .* has no bf16"),
        ([P100], Compute(), 1, r"Tesla P100 .*6\.0\), only for sm_75, sm_80, sm_90\.\n.*cu126.*--device cpu"),
        ([NEW, P100], Compute(), 2, "no kernels for Tesla P100"),
    ],
)
def test_a_missing_device_is_an_error_and_never_the_cpu(
    gpus: list, torchrun: Callable[[int], None], there: list, asked: Compute, processes: int, message: str
) -> None:
    gpus += there
    torchrun(processes)
    for use in (describe, make_fabric):
        with pytest.raises((AkitError, UsageError), match=message):
            use(asked)


def test_a_lost_process_is_named_also_below_a_recipes_line(torchrun: Callable[[int], None], tmp_path: Path) -> None:
    torchrun(2)
    file = RecipeFile(tmp_path / "r.py", "r", "")
    with pytest.raises(AkitError, match="has ended"), naming_lost_process(), names_line(file, always=True):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:538] Connection reset by peer")
    with pytest.raises(AkitError, match="connection"), naming_lost_process():
        raise AkitError("connection")


def test_a_fabric_is_made_once(gpus: list) -> None:
    assert make_fabric(Compute("cpu", "bf16")) is make_fabric(Compute("cpu", "bf16"))
    assert make_fabric(Compute("cpu", "bf16")).strategy.precision.precision == "bf16-mixed"
    assert make_fabric(Compute("cpu", "fp16")).strategy.precision.precision == "16-mixed"
    assert make_fabric(Compute("cpu")).strategy.precision.precision == "32-true"


@pytest.mark.parametrize("make", [torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD])
def test_fused_optimisers_make_the_same_steps_and_can_be_resumed(make: type) -> None:
    after = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        weights = torch.nn.Parameter(torch.randn(40))
        optimizer = use_fused(make([weights], lr=0.1), torch.device(device))  # torch has them for CPUs too
        assert bool(optimizer.param_groups[0]["fused"]) == (device == "cuda")
        for step in range(4):
            if step == 2:
                optimizer.load_state_dict(optimizer.state_dict())
            weights.grad = torch.randn(40)
            optimizer.step()
        after.append(weights.detach())
    torch.testing.assert_close(*after)


def test_moments_are_restored_in_memory_format_of_weights() -> None:
    images = torch.nn.Parameter(torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last))
    scalar = torch.nn.Parameter(torch.randn(()))
    optimizer = torch.optim.AdamW([{"params": [scalar]}, {"params": [images]}])
    for parameter in (images, scalar):
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    stored = {name: tensor.contiguous().clone() for name, tensor in optimizer_tensors(optimizer).items()}
    before = {name: tensor.clone() for name, tensor in optimizer.state[images].items()}
    restore_optimizer(optimizer, stored)
    assert optimizer.state[images]["exp_avg"].stride() == images.stride()
    torch.testing.assert_close(dict(optimizer.state[images]), before, rtol=0, atol=0)


def test_other_optimisers_stay_as_they_are() -> None:
    optimizer = torch.optim.RMSprop([torch.nn.Parameter(torch.zeros(1))])
    assert "fused" not in use_fused(optimizer, torch.device("cuda")).param_groups[0]


@pytest.mark.gpu
def test_a_gpu_is_used_by_its_number() -> None:
    last = torch.cuda.device_count() - 1
    assert make_fabric(Compute(f"cuda:{last}")).device == torch.device("cuda", last)
    assert torch.cuda.get_device_name(last) in describe(Compute(f"cuda:{last}"))
    assert torch.get_float32_matmul_precision() == "high"
