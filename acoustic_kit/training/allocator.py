"""The C library's memory allocator, told to keep what a training step frees for the next step."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def keep_freed_memory() -> bool:
    """Let malloc hold on to large blocks that are freed, instead of handing them to the kernel; whether it could.

    A step on a CPU frees and asks for gigabytes of activations. By default a block of more than 32 MB is mapped anew,
    and the kernel fills it with zeros page by page: a third of the processor time of networks that are mostly
    element-wise, such as those on the raw wave (none of a ResNet's), for up to a third more memory. Only glibc has this
    switch; elsewhere nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl and macOS have none
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, 1 << 30) and mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1))
