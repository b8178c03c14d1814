"""Device settings, and the processes that torchrun started."""

import pytest
import torch

from acoustic_kit.device import (
    Compute,
    Gpu,
    has_kernels,
    is_first_process,
    n_processes,
    network_precision,
    require_kernels,
    require_one_process,
)
from acoustic_kit.errors import AkitError, UsageError


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"device": "gpu"}, "no device 'gpu'"),
        ({"device": "cuda:"}, "no device"),
        ({"device": "cuda:one"}, "no device"),
        ({"precision": "16"}, "no precision '16': it is auto, 32, bf16, fp16"),
    ],
)
def test_what_makes_no_sense_is_said(asked: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Compute(**asked)


def test_a_gpu_may_have_a_number() -> None:
    numbers = {"auto": None, "cpu": None, "cuda": None, "cuda:0": 0, "cuda:12": 12}
    assert {device: Compute(device).index for device in numbers} == numbers


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_auto_is_the_cpu_and_nothing_else_is() -> None:
    assert Compute("auto").gpu() is None
    with pytest.raises(AkitError, match="no CUDA device"):
        Compute("cuda:1").gpu()


def test_the_first_process_of_torchrun_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert (n_processes(), is_first_process()) == (1, True)  # a variable that some other program left
    for name, value in (("TORCHELASTIC_RUN_ID", "1"), ("WORLD_SIZE", "4"), ("LOCAL_WORLD_SIZE", "4")):
        monkeypatch.setenv(name, value)
    assert (n_processes(), is_first_process()) == (4, False)
    with pytest.raises(UsageError, match="torchrun started 4"):
        require_one_process("predict")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert is_first_process()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="one machine"):
        n_processes()


OLDER = [(5, 0), (5, 2), (6, 0), (6, 1)]
VOLTA, TURING = [(7, 0), (7, 2)], [(7, 5)]
NEWER = [(8, 0), (8, 6), (8, 7), (8, 9), (9, 0)]
BLACKWELL = [(10, 0), (10, 3), (12, 0), (12, 1)]
THOR, LATER = (11, 0), (13, 0)
ALL = [*OLDER, *VOLTA, *TURING, *NEWER, *BLACKWELL, THOR, LATER]
BUILDS = {  # torch.cuda.get_arch_list() of a build → GPUs that it runs on
    "sm_50 sm_60 sm_70 sm_75 sm_80 sm_86 sm_90": [*OLDER, *VOLTA, *TURING, *NEWER],  # CUDA 12.6
    "sm_70 sm_75 sm_80 sm_86 sm_90 sm_100 sm_120": [*VOLTA, *TURING, *NEWER, *BLACKWELL],  # torch 2.8, CUDA 12.8
    "sm_75 sm_80 sm_86 sm_90 sm_100 sm_120": [*TURING, *NEWER, *BLACKWELL],  # torch 2.11, CUDA 13.0
    "sm_75 sm_80 sm_86 sm_90 sm_100 sm_120 compute_120": [*TURING, *NEWER, *BLACKWELL, LATER],
    "sm_86": [(8, 6), (8, 7), (8, 9)],
    "sm_90a": [(9, 0)],
    "sm_103a sm_120a": [(10, 3), (12, 0)],
    "sm_100f": [(10, 0), (10, 3)],
    "compute_75": [c for c in ALL if c >= (7, 5)],
    "": ALL,  # a build for CPUs
    "gfx90a gfx942": ALL,  # ROCm
}


@pytest.mark.parametrize("architectures", BUILDS)
def test_a_build_of_torch_has_kernels_for_some_gpus(architectures: str) -> None:
    build = architectures.split()
    assert [one for one in ALL if has_kernels(one, build)] == [one for one in ALL if one in BUILDS[architectures]]


@pytest.mark.parametrize("capability", ALL)
def test_the_precision_follows_from_the_capability(capability: tuple[int, int]) -> None:
    gpu = Gpu("GPU", capability)
    expected = "bf16" if capability[0] >= 8 else "fp16" if capability[0] == 7 else "32"
    assert network_precision("auto", [gpu]) == expected
    assert network_precision("auto", [gpu, Gpu("New GPU", (9, 0))]) == expected
    assert network_precision("32", [gpu]) == "32"
    for precision, first in (("bf16", 8), ("fp16", 7)):
        if capability[0] >= first:
            assert network_precision(precision, [gpu]) == precision
        else:
            with pytest.raises(AkitError, match=rf"GPU .*{capability[0]}\.{capability[1]}\) has no {precision}"):
                network_precision(precision, [gpu])


def test_on_a_cpu_the_precision_is_the_one_asked_for() -> None:
    assert [network_precision(one, []) for one in ("auto", "32", "bf16", "fp16")] == ["32", "32", "bf16", "fp16"]


@pytest.mark.parametrize(
    ("name", "capability", "way_out"),
    [("Tesla P100", (6, 0), "cu126"), ("Tesla V100", (7, 0), "cu126"), ("GPU of 2028", (14, 0), "--upgrade torch")],
)
def test_a_gpu_without_kernels_is_named_with_the_way_out(name: str, capability: tuple[int, int], way_out: str) -> None:
    build = ["sm_75", "sm_80", "sm_120"]
    with pytest.raises(AkitError, match=name) as error:
        require_kernels(Gpu(name, capability), build, "2.11.0+cu130")
    for part in (f"{capability[0]}.{capability[1]}", "2.11.0+cu130", "sm_75, sm_80, sm_120", way_out, "--device cpu"):
        assert part in str(error.value)
    require_kernels(Gpu("T4", (7, 5)), build, "2.11.0+cu130")
