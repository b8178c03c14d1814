"""Settings of the C library's memory allocator: keep freed memory for the next training step."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def keep_freed_memory() -> bool:
    """Let malloc keep large freed blocks instead of returning them to the kernel; return whether that is possible.

    A step on a CPU frees and allocates gigabytes of activations. By default a block of more than 32 MB is mapped again,
    and the kernel fills it with zeros page by page: a third of the processor time of networks that are mostly
    element-wise, such as those on the raw wave (none of a ResNet's), for up to a third more memory. Only glibc has this
    switch; elsewhere nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl and macOS have none
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, 1 << 30) and mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1))
