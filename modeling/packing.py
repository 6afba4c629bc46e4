"""Packed sequences: clips of any duration and size, and their texts, in one batch without padding.

A batch is a table of rows. Each document owns a run of rows, text first and then latent patches in
(t, y, x) order. Attention stays inside a document; everything else is row by row, so no row is
wasted on padding. On CUDA one variable-length kernel serves the whole table; on CPU, where that
kernel does not exist, neighbours of equal length are attended to together. `pack` therefore lays
documents out by length: no row is moved for attention, and none moved back for its gradient.

Shapes: N rows of the table, H heads, D channels a head.
"""

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Where each document's rows are: `lengths` are rows per document, in table order."""

    lengths: tuple[int, ...]

    @property
    def runs(self) -> list[tuple[int, int]]:
        """(documents, length) of each run of neighbours of equal length."""
        return [(len(list(run)), length) for length, run in itertools.groupby(self.lengths)]

    def offsets(self, device: torch.device) -> Tensor:
        """Cumulative document starts, int32, as variable-length kernels want them."""
        bounds = torch.tensor((0, *self.lengths), dtype=torch.int32, device=device)
        return bounds.cumsum(0, dtype=torch.int32)


def attend(q_NHD: Tensor, k_NHD: Tensor, v_NHD: Tensor, layout: Layout) -> Tensor:
    """Full attention inside each document. Returns (N, H, D)."""
    if q_NHD.is_cuda:
        from torch.nn.attention.varlen import varlen_attn

        offsets, longest = layout.offsets(q_NHD.device), max(layout.lengths)
        # The kernel takes half precision alone; autocast leaves normalised queries in float32.
        half = v_NHD.dtype if v_NHD.dtype.itemsize == 2 else torch.bfloat16
        q, k, v = (x.to(half) for x in (q_NHD, k_NHD, v_NHD))
        out = varlen_attn(q, k, v, offsets, offsets, longest, longest)
        assert isinstance(out, Tensor)
        return out.to(v_NHD.dtype)
    runs = layout.runs
    if len(runs) == 1:
        return _attend_stacked(q_NHD, k_NHD, v_NHD, runs[0][0])
    parts = [
        part.split([count * length for count, length in runs]) for part in (q_NHD, k_NHD, v_NHD)
    ]
    stacked = zip(*parts, runs, strict=True)
    return torch.cat([_attend_stacked(q, k, v, count) for q, k, v, (count, _) in stacked])


def _attend_stacked(q_NHD: Tensor, k_NHD: Tensor, v_NHD: Tensor, documents: int) -> Tensor:
    q, k, v = (x.unflatten(0, (documents, -1)).transpose(1, 2) for x in (q_NHD, k_NHD, v_NHD))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(0, 1)
