"""Packed sequences: clips of any duration and size, and their texts, in one batch without padding.

A batch is a table of rows. Each document owns a run of rows, text first and then latent patches in
(t, y, x) order. Attention stays inside a document; everything else is row by row, so no row is
wasted on padding. On CUDA one variable-length kernel serves the whole table; on CPU, where that
kernel does not exist, documents of equal length are stacked and attended to together.

Shapes: N rows of the table, H heads, D channels a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Where each document's rows are.

    `lengths` are rows per document, in table order. `groups` holds, for each distinct length, the
    row indices (documents, length) of its documents: what the CPU path stacks.
    """

    lengths: tuple[int, ...]
    groups: tuple[Tensor, ...]

    @classmethod
    def of(cls, lengths: Sequence[int]) -> "Layout":
        starts: dict[int, list[int]] = {}
        at = 0
        for length in lengths:
            starts.setdefault(length, []).append(at)
            at += length
        groups = tuple(
            torch.tensor(first)[:, None] + torch.arange(length) for length, first in starts.items()
        )
        return cls(tuple(lengths), groups)

    def offsets(self, device: torch.device) -> Tensor:
        """Cumulative document starts, int32, as variable-length kernels want them."""
        bounds = torch.tensor((0, *self.lengths), dtype=torch.int32, device=device)
        return bounds.cumsum(0, dtype=torch.int32)


def attend(q_NHD: Tensor, k_NHD: Tensor, v_NHD: Tensor, layout: Layout) -> Tensor:
    """Full attention inside each document. Returns (N, H, D)."""
    if q_NHD.is_cuda:
        from torch.nn.attention.varlen import varlen_attn

        offsets, longest = layout.offsets(q_NHD.device), max(layout.lengths)
        out = varlen_attn(q_NHD, k_NHD, v_NHD, offsets, offsets, longest, longest)
        assert isinstance(out, Tensor)
        return out
    if len(layout.groups) == 1:
        rows = layout.groups[0]
        return _attend_stacked(q_NHD, k_NHD, v_NHD, rows.shape[0])
    order = torch.cat([rows.flatten() for rows in layout.groups])
    parts = [
        _attend_stacked(
            q_NHD[rows.flatten()], k_NHD[rows.flatten()], v_NHD[rows.flatten()], len(rows)
        )
        for rows in layout.groups
    ]
    return torch.cat(parts)[order.argsort()]


def _attend_stacked(q_NHD: Tensor, k_NHD: Tensor, v_NHD: Tensor, documents: int) -> Tensor:
    q, k, v = (x.unflatten(0, (documents, -1)).transpose(1, 2) for x in (q_NHD, k_NHD, v_NHD))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(0, 1)
