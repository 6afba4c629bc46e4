"""Packed sequences: clips of any duration and size, and their texts, in one batch without padding.

A batch is two tables of rows, of latent patches in (t, y, x) order and of text; each document owns
a run of rows in both. Patches attend to the patches and to the text of their own document, text is
only looked at; everything else is row by row, so no row is wasted on padding. On CUDA one
variable-length kernel serves all documents; on CPU, where that kernel does not exist, neighbours of
equal lengths are attended to together. `pack` therefore lays documents out by length: no row is
moved for attention, and none moved back for its gradient.

Shapes: N patch rows of the table, M text rows, H heads, D channels a head.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Where each document's rows are: patches and words of each, in the tables' order."""

    lengths: tuple[int, ...]
    words: tuple[int, ...]

    @property
    def runs(self) -> list[tuple[int, int, int]]:
        """(documents, patches, words) of each run of neighbours that are alike."""
        pairs = zip(self.lengths, self.words, strict=True)
        return [(len(list(run)), *pair) for pair, run in itertools.groupby(pairs)]


def offsets(lengths: Sequence[int], device: torch.device) -> Tensor:
    """Cumulative starts of documents, int32, as variable-length kernels want them."""
    bounds = torch.tensor((0, *lengths), dtype=torch.int32, device=device)
    return bounds.cumsum(0, dtype=torch.int32)


def attend(
    q_NHD: Tensor,
    k_NHD: Tensor,
    v_NHD: Tensor,
    text_k_MHD: Tensor,
    text_v_MHD: Tensor,
    layout: Layout,
) -> Tensor:
    """Attention of each document's patches to themselves and to its text. Returns (N, H, D)."""
    if q_NHD.is_cuda:
        k, v = _joined(k_NHD, text_k_MHD, layout), _joined(v_NHD, text_v_MHD, layout)
        return _attend_together(q_NHD, k, v, layout)
    runs = layout.runs
    patches, words = [n * length for n, length, _ in runs], [n * length for n, _, length in runs]
    parts = zip(
        *(table.split(patches) for table in (q_NHD, k_NHD, v_NHD)),
        *(table.split(words) for table in (text_k_MHD, text_v_MHD)),
        strict=True,
    )
    outs = [_attend_run(n, *part) for (n, _, _), part in zip(runs, parts, strict=True)]
    return torch.cat(outs) if len(outs) > 1 else outs[0]


def _attend_run(n: int, q: Tensor, k: Tensor, v: Tensor, text_k: Tensor, text_v: Tensor) -> Tensor:
    """Of n documents of equal lengths, in float32: the gradient takes thrice as long in half."""
    q, k, v, text_k, text_v = (x.unflatten(0, (n, -1)) for x in (q, k, v, text_k, text_v))
    keys, values = torch.cat((k, text_k), 1), torch.cat((v, text_v), 1)
    q, keys, values = (x.transpose(1, 2).float() for x in (q, keys, values))
    with torch.autocast("cpu", enabled=False):
        out = F.scaled_dot_product_attention(q, keys, values)
    return out.transpose(1, 2).flatten(0, 1)


def _attend_together(q: Tensor, k: Tensor, v: Tensor, layout: Layout) -> Tensor:
    """Of all documents by the variable-length kernel."""
    from torch.nn.attention.varlen import varlen_attn

    seen = [sum(pair) for pair in zip(layout.lengths, layout.words, strict=True)]
    starts, seen_starts = offsets(layout.lengths, q.device), offsets(seen, q.device)
    # The kernel takes half precision alone; autocast leaves normalised queries in float32.
    kept, half = v.dtype, v.dtype if v.dtype.itemsize == 2 else torch.bfloat16
    q, k, v = q.to(half), k.to(half), v.to(half)
    out = varlen_attn(q, k, v, starts, seen_starts, max(layout.lengths), max(seen))
    assert isinstance(out, Tensor)
    return out.to(kept)


def _joined(patches: Tensor, text: Tensor, layout: Layout) -> Tensor:
    """Rows of each document's patches and text, document after document."""
    pairs = zip(patches.split(layout.lengths), text.split(layout.words), strict=True)
    return torch.cat([part for pair in pairs for part in pair])
