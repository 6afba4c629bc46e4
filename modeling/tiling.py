"""Spatial tiling: large frames through a network piece by piece, with blended overlaps.

Memory is that of one tile and of the result. A tile's rim, where the network missed what lies
outside, has no weight; inside of it neighbours fade into each other. So where the rim is as wide as
the network's reach, tiled is the whole up to rounding, and where it is not there is no seam.

Shapes: h w latent positions; `...` anything before the two spatial axes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

RIM = 3 / 8  # share of an overlap, at either end, that only one of the two tiles decides


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """Latent positions along a tile's side, and at least how many two neighbours share.

    Raises:
        ValueError: the overlap is no smaller than the tile.
    """

    side: int = 96
    overlap: int = 24

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < self.side:
            raise ValueError(
                f"tiles of {self.side} positions cannot overlap by {self.overlap}; "
                "the overlap has to be smaller than the side"
            )


def tile_spans(size: int, tiling: Tiling) -> list[tuple[int, int]]:
    """First and last-but-one position of each tile along an axis; evenly spaced, all equally long.

    That they are equally long also keeps the number of kernels small that a backend has to prepare.
    """
    if size <= tiling.side:
        return [(0, size)]
    count = -(-(size - tiling.overlap) // (tiling.side - tiling.overlap))
    starts = [round(index * (size - tiling.side) / (count - 1)) for index in range(count)]
    return [(start, start + tiling.side) for start in starts]


def tile_weights(size: int, scale: int, tiling: Tiling) -> list[Tensor]:
    """Weights of each tile over its positions, `scale` to a latent; everywhere they sum to one."""
    rim, ramp = scale * tiling.overlap * RIM, scale * tiling.overlap * (1 - 2 * RIM)
    total, weights = torch.zeros(size * scale), []
    for first, end in tile_spans(size, tiling):
        place = torch.arange(first * scale, end * scale) + 0.5
        # The frame's own edge is no rim: there is nothing beyond it that could be missed.
        left = place - first * scale if first else torch.full_like(place, torch.inf)
        right = end * scale - place if end < size else torch.full_like(place, torch.inf)
        weight = ((torch.minimum(left, right) - rim) / max(ramp, 1)).clamp(0, 1)
        total[first * scale : end * scale] += weight
        weights.append(weight)
    return [
        weight / total[first * scale : end * scale]
        for weight, (first, end) in zip(weights, tile_spans(size, tiling), strict=True)
    ]


def tiled(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    tiling: Tiling | None,
    scale_in: int = 1,
    scale_out: int = 1,
) -> Tensor:
    """`function(x)` tile by tile, (..., h, w) times `scale_in` -> (..., h, w) times `scale_out`.

    A frame that is no larger than one tile, or no tiling, is one call.
    """
    height, width = (side // scale_in for side in x.shape[-2:])
    if tiling is None or max(height, width) <= tiling.side:
        return function(x)
    rows = list(
        zip(tile_spans(height, tiling), tile_weights(height, scale_out, tiling), strict=True)
    )
    columns = list(
        zip(tile_spans(width, tiling), tile_weights(width, scale_out, tiling), strict=True)
    )
    whole: Tensor | None = None
    for (top, bottom), down in rows:
        for (left, right), across in columns:
            tile = x[..., top * scale_in : bottom * scale_in, left * scale_in : right * scale_in]
            part = function(tile)
            if whole is None:
                sides = (height * scale_out, width * scale_out)
                whole = part.new_zeros(*part.shape[:-2], *sides)
            part = part * (down[:, None] * across).to(part)
            whole[
                ..., top * scale_out : bottom * scale_out, left * scale_out : right * scale_out
            ] += part
    assert whole is not None
    return whole
