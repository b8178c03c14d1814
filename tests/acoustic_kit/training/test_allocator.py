"""Blocks that are freed and asked for again cost no page faults."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import numpy as np
if sys.argv[1] == "keep":
    from acoustic_kit.training.allocator import keep_freed_memory
    assert keep_freed_memory()
def step():
    np.ones(10_000_000)  # 80 MB, written and freed
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_kept() -> None:
    faults = {
        how: int(subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True).stdout)
        for how in ("default", "keep")
    }
    assert faults["keep"] < 100
    assert faults["keep"] < faults["default"] / 2
