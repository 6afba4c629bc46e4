"""Which memory allocator our processes run on.

A training step makes and frees thousands of tensors. glibc either hands the large ones back to the
kernel and faults them in again, zeroed page by page (14 % of a step, measured), or, told to keep
them, looks through what is free at each of them: in a long training on CPU a fifth of the main
thread's time, while the others wait for it. jemalloc, which Ray brings along, does neither.
"""

import os
from importlib.util import find_spec
from pathlib import Path

PAGE_BYTES = 4096  # Ray's library is built for pages of this size and aborts on larger ones


def allocator_env(allocator: str, preloaded: str = "") -> dict[str, str]:
    """Variables for new processes: of jemalloc where Ray's library fits, else glibc's own.

    Args:
        allocator: "jemalloc" or "system".
        preloaded: LD_PRELOAD as it is; what it names stays.
    """
    library = jemalloc() if allocator == "jemalloc" else None
    if library is None:
        return {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**32)}
    others = [path for path in preloaded.replace(":", " ").split() if path != str(library)]
    return {
        "LD_PRELOAD": ":".join([str(library), *others]),
        # Blocks of 8 MB and more would go back to the kernel at once, and others after 10 s. Never
        # is no choice: only what goes back is joined to larger blocks, and training came to 20 GB.
        "MALLOC_CONF": "oversize_threshold:0,dirty_decay_ms:30000",
    }


def jemalloc() -> Path | None:
    """Ray's library; None where there is none or it would not run."""
    ray = find_spec("ray")
    if ray is None or ray.origin is None or os.sysconf("SC_PAGE_SIZE") != PAGE_BYTES:
        return None
    library = Path(ray.origin).parent / "core" / "libjemalloc.so"
    return library if library.is_file() else None
