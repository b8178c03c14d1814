"""Full precision of float32 products, whatever a training run allows elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def full_float32_matmul(device: torch.device) -> Iterator[None]:
    """Switch off autocast and TF32, which keep only 8 and 11 of a factor's 24 bits: too few for spectra."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    convolutions = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    try:
        with convolutions, torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
