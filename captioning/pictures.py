"""A clip as one picture: CoCa sees pictures, and in a grid of frames motion is visible.

Two layouts hold the same pixels. `tile` puts whole frames side by side in reading order, which is
what a model that learned from photographs can read. `weave` puts them side by side within every
patch, so that one token of a vision transformer sees one place at all times: a transformer trained
from nothing then finds motion inside a token instead of between distant ones. (The same idea as
the tubelets of ViViT, arXiv:2103.15691, kept inside a picture model.)
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def tile(frames_BTHWC: Tensor, grid: int) -> Tensor:
    """Whole frames in reading order, (B, grid², H, W, C) → (B, C, grid·H, grid·W)."""
    batch, _, height, width, channels = frames_BTHWC.shape
    rows = frames_BTHWC.reshape(batch, grid, grid, height, width, channels)
    picture = rows.permute(0, 5, 1, 3, 2, 4)  # B, C, grid row, y, grid column, x
    return picture.reshape(batch, channels, grid * height, grid * width)


def weave(frames_BTHWC: Tensor, grid: int, patch: int) -> Tensor:
    """Each place at all times side by side, (B, grid², H, W, C) → (B, C, grid·H, grid·W).

    A place is `patch` by `patch` pixels of the frame, grid times as many of the picture; H and W
    must divide by `patch`.
    """
    batch, _, height, width, channels = frames_BTHWC.shape
    rows, columns = height // patch, width // patch
    places = frames_BTHWC.reshape(batch, grid, grid, rows, patch, columns, patch, channels)
    # to B, C, (row, grid row, y), (column, grid column, x)
    picture = places.permute(0, 7, 3, 1, 4, 5, 2, 6)
    return picture.reshape(batch, channels, grid * height, grid * width)


def window_starts(num_frames: int, span: int, views: int) -> list[int]:
    """First frames of `views` windows of `span` frames spread evenly over a clip, in order."""
    last = max(0, num_frames - span)
    if views == 1 or last == 0:
        return [last // 2] * views
    return [round(last * view / (views - 1)) for view in range(views)]


def window(num_frames: int, start: int, count: int, stride: int) -> list[int]:
    """Frame indices of one window; a clip that is too short repeats its last frame."""
    return [min(start + step * stride, num_frames - 1) for step in range(count)]


def augment(
    frames_BTHWC: Tensor,
    *,
    shift: float,
    zoom: float,
    brightness: float,
    noise: float,
    generator: torch.Generator,
) -> Tensor:
    """Change what no caption speaks of: position, scale, light, noise. Never a mirror image.

    All frames of a clip change alike. Values are in [-1, 1]; `shift` is a share of the frame.
    """
    batch, count, height, width, channels = frames_BTHWC.shape

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator) * 2 - 1

    affine = torch.zeros(batch, 2, 3)
    affine[:, 0, 0] = affine[:, 1, 1] = 1 + zoom * uniform(batch)
    affine[:, :, 2] = 2 * shift * uniform(batch, 2)
    stacked = frames_BTHWC.permute(0, 1, 4, 2, 3).reshape(batch, count * channels, height, width)
    places = F.affine_grid(affine, list(stacked.shape), align_corners=False)
    moved = F.grid_sample(stacked, places, padding_mode="border", align_corners=False)
    moved = moved.view(batch, count, channels, height, width).permute(0, 1, 3, 4, 2)
    gain = 1 + brightness * uniform(batch, 1, 1, 1, 1)
    offset = 0.5 * brightness * uniform(batch, 1, 1, 1, 1)
    grain = noise * uniform(batch, count, height, width, channels)
    return moved * gain + offset + grain
