"""The benchmark of GPUs runs, and says so where there is none."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


def run(*arguments: str) -> str:
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_line() -> None:
    (line,) = run().splitlines()
    assert "no CUDA device" in line


@pytest.mark.slow
def test_its_tiny_form_runs_on_a_cpu() -> None:
    lines = [line.split()[0] for line in run("--device", "cpu").splitlines() if line]
    assert lines[1:3] == ["recipe,", "logmel_cnn"]
    assert lines[3] == "feature,"
    assert lines[-1] == "trainable"
