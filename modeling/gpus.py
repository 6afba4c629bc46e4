"""GPUs by name: memory, and the peak of dense matrix products.

From the makers' data sheets: NVIDIA A100 80GB, L4, L40S, H100 SXM and H200 SXM (bfloat16 "with
sparsity" halved), the DGX B200 data sheet (an eighth of it), the Ada GPU architecture paper for the
RTX 4090, and AMD's MI300X data sheet. Memory is what the driver shows, a little less than the name
says.
"""

from dataclasses import dataclass

from infra.errors import NotFoundError


@dataclass(frozen=True)
class GPU:
    """memory_gib; bfloat16_tflops and float32_tflops: dense peaks, 10**12 operations a second."""

    memory_gib: float
    bfloat16_tflops: float
    float32_tflops: float


GPUS = {
    "a100": GPU(80.0, 312.0, 19.5),
    "a100-40": GPU(40.0, 312.0, 19.5),
    "b200": GPU(179.0, 2250.0, 75.0),
    "h100": GPU(79.6, 989.0, 67.0),
    "h200": GPU(140.4, 989.0, 67.0),
    "l4": GPU(22.5, 121.0, 30.3),
    "l40s": GPU(45.0, 362.0, 91.6),
    "mi300x": GPU(192.0, 1307.0, 163.4),
    "rtx4090": GPU(24.0, 165.0, 82.6),
}


def gpu_by_name(name: str) -> GPU:
    """The GPU called `name`.

    Raises:
        NotFoundError: it is not in the table; the message lists those that are.
    """
    if name.lower() not in GPUS:
        raise NotFoundError(f"no GPU called {name!r}; there are: {', '.join(GPUS)}")
    return GPUS[name.lower()]
