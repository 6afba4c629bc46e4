"""What the measurements on a GPU share: a clock that waits for it, its roof, and its memory."""

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch

from modeling.device import compute_device

ROUNDS, WARM_UP = 9, 3
ROOF_SIDE = 8192


def half() -> AbstractContextManager[Any]:
    """What everything here computes in."""
    return torch.autocast(compute_device().type, torch.bfloat16)


def seconds(act: Callable[[], object]) -> float:
    """Wall time of what `act` starts on the device, from an idle device to an idle one."""
    wait()
    begun = time.perf_counter()
    act()
    wait()
    return time.perf_counter() - begun


def in_turns(acts: Sequence[Callable[[], object]]) -> list[float]:
    """Median seconds of each; they take turns, so that a hot or a busy device slows all."""
    taken: list[list[float]] = [[] for _ in acts]
    for number in range(WARM_UP + ROUNDS):
        for act, spent in zip(acts, taken, strict=True):
            found = seconds(act)
            if number >= WARM_UP:  # the first ones compile
                spent.append(found)
    return [statistics.median(spent) for spent in taken]


def roof() -> tuple[Callable[[], object], float]:
    """A large bfloat16 product, and its FLOPs: what the device reaches when nothing is between."""
    a, b = (
        torch.randn(ROOF_SIDE, ROOF_SIDE, device=compute_device(), dtype=torch.bfloat16)
        for _ in "ab"
    )
    return lambda: torch.mm(a, b), 2.0 * ROOF_SIDE**3


def peak_gib(act: Callable[[], object]) -> float:
    """Most memory that tensors took on the device while `act` ran, with what was there before."""
    if compute_device().type != "cuda":
        return 0.0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    act()
    wait()
    return torch.cuda.max_memory_allocated() / 2**30


def wait() -> None:
    if compute_device().type == "cuda":
        torch.cuda.synchronize()
