"""What the process does with memory that tensors gave back."""

import ctypes
from typing import Any

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # from malloc.h
LARGEST = 2**31 - 1
OVERSIZE = b"arena.0.oversize_threshold"


def keep_freed_memory() -> bool:
    """Keep freed memory for the next tensors, for the rest of the process; True where it works.

    The C library returns large blocks to the system at once and asks for them again, zeroed page by
    page, at the next operation: a twentieth of the time of a training step on CPU. So does jemalloc
    (see `infra.allocator`) in the main thread, whatever MALLOC_CONF says: its first arena is older
    than its configuration.
    """
    library: Any = ctypes.CDLL(None)
    if hasattr(library, "mallctl"):
        size = ctypes.c_size_t(LARGEST)
        new, length = ctypes.byref(size), ctypes.c_size_t(ctypes.sizeof(size))
        return bool(library.mallctl(OVERSIZE, None, None, new, length) == 0)
    set_option = getattr(library, "mallopt", None)  # glibc's own
    if set_option is None:
        return False
    return bool(set_option(MMAP_THRESHOLD, LARGEST) and set_option(TRIM_THRESHOLD, LARGEST))
