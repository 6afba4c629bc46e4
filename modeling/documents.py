"""Documents to rows and back: one clip, its text, and which of its latent frames are given.

Shapes: G latent frames, C channels, h w latent positions, N rows, P patch values, L text tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from modeling.dit import DiTConfig, Rows
from modeling.packing import Layout
from modeling.vae import GROUP


@dataclass(frozen=True)
class Document:
    """One clip as the transformer sees it.

    latents_GChw: noisy where asked for, clean where given.
    text_LD: features of its caption.
    timesteps_G: per latent frame, 0 clean to 1 noise; given frames are at 0.
    given_G: which latent frames are given.
    fps: frames per second of the clip's pixels.
    """

    latents_GChw: Tensor
    text_LD: Tensor
    timesteps_G: Tensor
    given_G: Tensor
    fps: float


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


def frame_seconds(frames: int, fps: float) -> Tensor:
    """Middle of each latent frame in seconds: the first is one frame, the others four. (G,)."""
    middles = torch.arange(frames) * GROUP - (GROUP - 1) / 2
    return middles.clamp(min=0) / fps


def grid_positions(frames: int, height: int, width: int, fps: float, config: DiTConfig) -> Tensor:
    """Rotary positions of a patch grid, (frames * height * width, 3), centred in space.

    Space is measured in the frame's shorter side, so a scene keeps its coordinates at any size.
    """
    shorter = min(height, width)
    t = frame_seconds(frames, fps) * config.second
    y = (torch.arange(height) + 0.5 - height / 2) * config.side / shorter
    x = (torch.arange(width) + 0.5 - width / 2) * config.side / shorter
    return torch.stack(torch.meshgrid(t, y, x, indexing="ij"), dim=-1).reshape(-1, 3)


def table_order(documents: Sequence[Document]) -> list[int]:
    """Indices of the documents in the order in which `pack` lays them out: by length."""

    def length(index: int) -> int:
        document = documents[index]
        # In units that hold for any patch size; only equality and order matter.
        return len(document.text_LD) * 10**9 + document.latents_GChw[:, 0].numel()

    return sorted(range(len(documents)), key=length)


def pack(documents: Sequence[Document], config: DiTConfig) -> Rows:
    """Lay documents out as one table of rows, each as text rows and then patch rows."""
    patch_values = config.latent_channels * config.patch**2
    patches, text, is_text, given, positions, steps, lengths = [], [], [], [], [], [], []
    for document in (documents[index] for index in table_order(documents)):
        frames, _, height, width = document.latents_GChw.shape
        tokens, rows = len(document.text_LD), patchify(document.latents_GChw, config.patch)
        per_frame = len(rows) // frames
        patches += [rows.new_zeros(tokens, patch_values), rows]
        text += [document.text_LD, document.text_LD.new_zeros(len(rows), config.text_width)]
        is_text += [torch.ones(tokens, dtype=torch.bool), torch.zeros(len(rows), dtype=torch.bool)]
        given += [
            torch.zeros(tokens, dtype=torch.bool),
            document.given_G.repeat_interleave(per_frame),
        ]
        # Text counts backwards in time from the clip's start, one unit a token.
        order = torch.zeros(tokens, 3)
        order[:, 0] = torch.arange(tokens) - tokens
        grid = (frames, height // config.patch, width // config.patch)
        positions += [order, grid_positions(*grid, document.fps, config)]
        steps += [torch.zeros(tokens), document.timesteps_G.repeat_interleave(per_frame)]
        lengths.append(tokens + len(rows))
    distinct, index = torch.unique(torch.cat(steps), return_inverse=True)
    device = patches[0].device
    return Rows(
        patches_NP=torch.cat(patches),
        text_ND=torch.cat(text),
        is_text_N=torch.cat(is_text).to(device),
        given_N=torch.cat(given).to(device),
        positions_N3=torch.cat(positions).to(device),
        timesteps_U=distinct.to(device),
        timestep_index_N=index.to(device),
        layout=Layout(tuple(lengths)),
    )


def split(rows_NP: Tensor, documents: Sequence[Document], config: DiTConfig) -> list[Tensor]:
    """Undo `pack` on a row-wise output: latents (G, C, h, w) for each document."""
    outputs: list[Tensor] = [rows_NP] * len(documents)
    at = 0
    for index in table_order(documents):
        shape = documents[index].latents_GChw.shape
        count = shape[0] * (shape[2] // config.patch) * (shape[3] // config.patch)
        at += len(documents[index].text_LD)
        outputs[index] = unpatchify(rows_NP[at : at + count], shape, config.patch)
        at += count
    return outputs
