"""Device settings, and the processes that torchrun started."""

import pytest
import torch

from acoustic_kit.device import Compute, is_first_process, n_processes, require_one_process
from acoustic_kit.errors import AkitError, UsageError


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"device": "gpu"}, "no device 'gpu'"),
        ({"device": "cuda:"}, "no device"),
        ({"device": "cuda:one"}, "no device"),
        ({"precision": "16"}, "no precision '16': it is auto, 32, bf16"),
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
