"""Groups of frames through a network in calls of fixed size, so that streaming is exact.

What a convolution adds up in which order depends on how many rows a call has: oneDNN picks its
blocking by it, and PyTorch another library below 16 rows of a 1x1 convolution on one thread. An
element-wise function may round another way at the end of a row of memory. Measured: 1e-6 to 5e-6
in most layers, 1e-5 at the end of the decoder. So on CPU every call has the same number of rows,
and a group always has the same one of them, counted from the video's start: whatever the chunks of
a stream, each group is computed by the same instructions.

Shapes: B batch, G groups, `...` whatever a group is made of.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

SMALL_FRAME = 96  # latent positions up to which one group does not fill a core
SMALL_FRAME_GROUPS = 4  # measured at 48x64: 1.5x faster than one, and 0.9 of sixteen
POSITIONS_ON_DEVICE = 2**16  # of one call off the CPU, so that memory stays bounded


def groups_per_call(like: Tensor, height: int, width: int) -> int:
    """How many groups of (height, width) latent positions one call takes on a tensor's device."""
    if like.is_cpu:
        return SMALL_FRAME_GROUPS if height * width <= SMALL_FRAME else 1
    return max(1, POSITIONS_ON_DEVICE // (height * width))


def by_group(
    function: Callable[[Tensor], Tensor], x_BGx: Tensor, first: int, per_call: int
) -> Tensor:
    """`function`, rows to rows, of every group: (B, G, ...) -> (B, G, ...).

    first: groups of these videos that went before.
    """
    if not x_BGx.is_cpu:
        rows = torch.cat([function(part) for part in x_BGx.flatten(0, 1).split(per_call)])
        return rows.reshape(*x_BGx.shape[:2], *rows.shape[1:])
    start, groups = first % per_call, x_BGx.shape[1]
    videos = []
    for video in x_BGx:
        out = []
        for at in range(-start, groups, per_call):
            call = video[max(at, 0) : at + per_call]
            before = max(-at, 0)
            done = function(padded(call, before, per_call - before - len(call)))
            out.append(done[before : before + len(call)])
        videos.append(torch.cat(out))
    return torch.stack(videos)


def padded(x_Gx: Tensor, before: int, after: int) -> Tensor:
    """Zeros before and after along the first axis."""
    around = [0] * (2 * (x_Gx.ndim - 1)) + [before, after]
    return F.pad(x_Gx, around) if before or after else x_Gx
