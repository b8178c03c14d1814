"""What may be asked for, and who speaks among several processes."""

import pytest
import torch

from acoustic_kit.device import Compute, processes_of_torchrun
from acoustic_kit.errors import AkitError, UsageError


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"device": "gpu"}, "no device 'gpu'"),
        ({"device": "cuda:"}, "no device"),
        ({"device": "cuda:one"}, "no device"),
        ({"precision": "16"}, "no precision '16': it is auto, 32, bf16"),
        ({"devices": 0}, "at least one"),
        ({"devices": 2, "device": "cuda:1"}, "use --device cuda"),
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
    assert Compute("cpu", devices=2).gpu() is None
    with pytest.raises(AkitError, match="no CUDA device"):
        Compute("cuda:1").gpu()


def test_the_first_of_several_processes_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert Compute(devices=2).is_first
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not Compute(devices=2).is_first
    assert Compute().is_first  # a variable that some other program left


def test_what_torchrun_started_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert processes_of_torchrun() is None
    for name, value in (("TORCHELASTIC_RUN_ID", "1"), ("WORLD_SIZE", "4"), ("LOCAL_WORLD_SIZE", "4")):
        monkeypatch.setenv(name, value)
    assert processes_of_torchrun() == 4
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="one machine"):
        processes_of_torchrun()
