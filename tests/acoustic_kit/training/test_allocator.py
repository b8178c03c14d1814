"""Blocks that are freed and asked for again cost no page faults."""

import platform
import subprocess
import sys

import pytest

from acoustic_kit.training import allocator

SCRIPT = """
import resource, runpy, sys
import numpy as np
if sys.argv[1] != "default":
    assert runpy.run_path(sys.argv[1])["keep_freed_memory"]()
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
    default, kept = (
        int(subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True).stdout)
        for how in ("default", allocator.__file__)
    )
    assert kept < 100
    assert kept < default / 2
