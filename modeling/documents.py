"""Documents to rows and back: one clip, its text, and what of it is given.

Shapes: G latent frames, C channels, h w latent positions, y x positions of the patch grid (1 1 when
whole frames are meant), N rows, P patch values, L text tokens.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from modeling.dit import DiTConfig, Rows
from modeling.noise import Grid
from modeling.packing import Layout
from modeling.vae import GROUP


@dataclass(frozen=True)
class Memory:
    """Clean latent frames from before a document, at any resolution: it sees them, and no more.

    seconds_G: the middle of each on the document's own clock, so mostly below 0.
    """

    latents_GChw: Tensor
    seconds_G: Tensor


@dataclass(frozen=True)
class Document:
    """One clip as the transformer sees it.

    latents_GChw: noisy where asked for, clean where given.
    text_LD: features of its caption.
    timesteps_Gyx: 0 clean to 1 noise; what is given is at 0.
    given_Gyx: which frames or patches are given.
    fps: frames per second of the clip's pixels.
    opens: the first latent frame opens a video and is one frame of pixels, not a group.
    """

    latents_GChw: Tensor
    text_LD: Tensor
    timesteps_Gyx: Tensor
    given_Gyx: Tensor
    fps: float
    opens: bool = True
    memory: tuple[Memory, ...] = ()


def patchify(latents_GChw: Tensor, patch: int) -> Tensor:
    """(G, C, h, w) -> (G * h/p * w/p, C * p * p), rows in (t, y, x) order."""
    frames, channels, height, width = latents_GChw.shape
    x = latents_GChw.reshape(frames, channels, height // patch, patch, width // patch, patch)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels * patch * patch)


def unpatchify(rows_NP: Tensor, shape_GChw: Sequence[int], patch: int) -> Tensor:
    """Inverse of `patchify`."""
    frames, channels, height, width = shape_GChw
    x = rows_NP.reshape(frames, height // patch, width // patch, channels, patch, patch)
    return x.permute(0, 3, 1, 4, 2, 5).reshape(frames, channels, height, width)


def frame_seconds(frames: int, fps: float, *, opens: bool = True) -> Tensor:
    """Middle of each latent frame in seconds. (G,).

    A frame that opens a video is at 0; a group in its place would end there, as all its neighbours
    stay where they are.
    """
    middles = torch.arange(frames) * GROUP - (GROUP - 1) / 2
    return (middles.clamp(min=0) if opens else middles) / fps


def grid_positions(
    seconds_G: Tensor, grid_yx: tuple[int, int], whole_yx: tuple[int, int], config: DiTConfig
) -> Tensor:
    """Rotary positions of a patch grid, (G * y * x, 3), centred in space.

    Space is measured in the frame's shorter side, so a scene keeps its coordinates at any size. A
    coarser grid covers the frame of the `whole` one.
    """
    shorter = min(whole_yx)
    sides = [
        ((torch.arange(count) + 0.5) * (whole / count) - whole / 2) * config.side / shorter
        for count, whole in zip(grid_yx, whole_yx, strict=True)
    ]
    axes = torch.meshgrid(seconds_G * config.second, *sides, indexing="ij")
    return torch.stack(axes, dim=-1).reshape(-1, 3)


def coarser(latents_GChw: Tensor, factor: int, patch: int) -> Tensor:
    """Latents averaged to 1/factor of the patch grid along each side, rounded up."""
    if factor == 1:
        return latents_GChw
    height, width = (-(-side // (patch * factor)) * patch for side in latents_GChw.shape[2:])
    return F.adaptive_avg_pool2d(latents_GChw, (height, width))


def grid_of(latents_GChw: Tensor, config: DiTConfig) -> Grid:
    """Size of the patch grid over these latents."""
    frames, _, height, width = latents_GChw.shape
    return frames, height // config.patch, width // config.patch


def over_rows(values_Gyx: Tensor, grid: Grid) -> Tensor:
    """Values of patches or of whole frames as one for each patch row, (G * y * x,)."""
    return values_Gyx.expand(*grid).reshape(-1)


def table_order(documents: Sequence[Document]) -> list[int]:
    """Indices of the documents in the order in which `pack` lays them out: by length."""

    def length(index: int) -> int:
        document = documents[index]
        seen = (document.latents_GChw, *(memory.latents_GChw for memory in document.memory))
        # In units that hold for any patch size; only equality and order matter.
        return len(document.text_LD) * 10**9 + sum(latents[:, 0].numel() for latents in seen)

    return sorted(range(len(documents)), key=length)


def row_positions(document: Document, config: DiTConfig) -> Tensor:
    """Rotary positions of all patch rows of a document, in their order. (N, 3)."""
    grid = grid_of(document.latents_GChw, config)
    seen = [
        grid_positions(memory.seconds_G, grid_of(memory.latents_GChw, config)[1:], grid[1:], config)
        for memory in document.memory
    ]
    seconds = frame_seconds(grid[0], document.fps, opens=document.opens)
    return torch.cat([*seen, grid_positions(seconds, grid[1:], grid[1:], config)])


def text_positions(tokens: int) -> Tensor:
    """Rotary positions of a text's rows, (L, 3): backwards in time from the clip's start, one unit
    a token."""
    order = torch.zeros(tokens, 3)
    order[:, 0] = torch.arange(tokens) - tokens
    return order


def pack(documents: Sequence[Document], config: DiTConfig) -> Rows:
    """Lay documents out as tables of rows: patches, memory first and then their own, and text."""
    patches, given, positions, steps, lengths = [], [], [], [], []
    alike: dict[tuple[object, ...], Tensor] = {}  # positions, which are half of all the work here
    ordered = [documents[index] for index in table_order(documents)]
    for document in ordered:
        grid = grid_of(document.latents_GChw, config)
        past = [patchify(memory.latents_GChw, config.patch) for memory in document.memory]
        before = sum(map(len, past))
        patches += [*past, patchify(document.latents_GChw, config.patch)]
        given += [torch.ones(before, dtype=torch.bool), over_rows(document.given_Gyx, grid)]
        steps += [torch.zeros(before), over_rows(document.timesteps_Gyx, grid)]
        key = (grid, document.fps, document.opens, *map(id, document.memory))
        if key not in alike:
            alike[key] = row_positions(document, config)
        positions.append(alike[key])
        lengths.append(len(alike[key]))
    words = [len(document.text_LD) for document in ordered]
    distinct, index = torch.unique(torch.cat(steps), return_inverse=True)
    device = patches[0].device
    return Rows(
        patches_NP=torch.cat(patches),
        given_N=torch.cat(given).to(device),
        positions_N3=torch.cat(positions).to(device),
        timesteps_U=distinct.to(device),
        timestep_index_N=index.to(device),
        text_MW=torch.cat([document.text_LD for document in ordered]),
        text_positions_M3=torch.cat([text_positions(count) for count in words]).to(device),
        layout=Layout(tuple(lengths), tuple(words)),
    )


def steady(rows: Rows, width: int) -> Rows:
    """The rows, and on CPU so many more that a document comes out the same in any company.

    Which kernel multiplies a matrix, and so in which order it adds up, depends on how many rows
    there are, but only for a few. Measured with MKL on one and two threads: from 16 rows on at
    widths up to 384, from 160 on at 1024, each row's bits are its own. What is added is a document
    of nothing, the last one, and timesteps that no row has.
    """
    if not rows.patches_NP.is_cpu:
        return rows
    least = 32 if width <= 384 else 256
    patches, words = (max(least - len(present), 0) for present in (rows.patches_NP, rows.text_MW))
    if patches or words:
        patches, words = max(patches, 1), max(words, 1)  # attention wants some of both
    layout, below = rows.layout, (0, 0, 0, patches)
    if patches:
        layout = Layout((*layout.lengths, patches), (*layout.words, words))
    return Rows(
        patches_NP=F.pad(rows.patches_NP, below),
        given_N=F.pad(rows.given_N, (0, patches)),
        positions_N3=F.pad(rows.positions_N3, below),
        timesteps_U=F.pad(rows.timesteps_U, (0, max(least - len(rows.timesteps_U), 0))),
        timestep_index_N=F.pad(rows.timestep_index_N, (0, patches)),
        text_MW=F.pad(rows.text_MW, (0, 0, 0, words)),
        text_positions_M3=F.pad(rows.text_positions_M3, (0, 0, 0, words)),
        layout=layout,
    )


def split(rows_NP: Tensor, documents: Sequence[Document], config: DiTConfig) -> list[Tensor]:
    """Undo `pack` on a row-wise output: latents (G, C, h, w) for each document.

    Rows after those of the documents are left out.
    """
    outputs: list[Tensor] = [rows_NP] * len(documents)
    at = 0
    for index in table_order(documents):
        document = documents[index]
        count = math.prod(grid_of(document.latents_GChw, config))
        past = (math.prod(grid_of(memory.latents_GChw, config)) for memory in document.memory)
        at += sum(past)
        outputs[index] = unpatchify(
            rows_NP[at : at + count], document.latents_GChw.shape, config.patch
        )
        at += count
    return outputs
