"""Where networks compute."""

from contextlib import AbstractContextManager
from typing import Any

import torch


def compute_device() -> torch.device:
    """This process's GPU where it sees one, or else the CPU.

    Latents and features are on this device. Masks, timesteps and positions stay in the CPU's memory
    until rows are packed: they are looked at on the way, and a GPU would have to be waited for.
    """
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 faster than float32: any GPU, and processors with
    AVX512-BF16 or AMX. Others take it apart first, and are slower than with float32."""
    if device.type == "cuda":
        return True
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def half_on_gpu(device: torch.device) -> AbstractContextManager[Any]:
    """What networks that are not trained compute in: bfloat16 on a GPU, and float32 elsewhere."""
    return torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda")
