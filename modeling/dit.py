"""The diffusion transformer: packed rows of text and spacetime patches in, velocities out.

One stream of pre-norm blocks. Every latent frame has a timestep of its own: a frame at t = 0 is
given and clean, a frame at t = 1 is noise. Text-to-video, image-to-video, extension in both
directions and single images differ only in which frames are given; the network has no other notion
of a task.

Positions are rotary, in seconds along time and in units of the frame's shorter side along space,
so frame rate and resolution are parameters and not retraining. Adaptive layer norm follows DiT
(Peebles and Xie, 2023) with one table shared by all blocks (PixArt-alpha, Chen et al., 2023),
evaluated once per distinct timestep.

Shapes: N rows, D width, H heads, K channels a head, U distinct timesteps, P patch values.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modeling.packing import Layout, attend


@dataclass(frozen=True, kw_only=True)
class DiTConfig:
    """Sizes of the transformer. `patch` latent positions along each spatial side make one row."""

    width: int = 192
    depth: int = 6
    heads: int = 3
    patch: int = 2
    latent_channels: int = 16
    text_width: int = 192
    mlp_ratio: float = 3.0
    second: float = 16.0
    """Rotary units per second of time."""
    side: float = 32.0
    """Rotary units across the frame's shorter side."""


@dataclass(frozen=True)
class Rows:
    """One packed batch.

    patches_NP: noisy latent patches (zeros on text rows).
    text_ND: text features (zeros on patch rows).
    is_text_N: which rows are text.
    given_N: which rows belong to a given (clean) frame.
    positions_N3: seconds, y, x; see `rotary`. Text rows count tokens on the first axis.
    timesteps_U: the distinct timesteps; timestep_index_N picks one per row.
    """

    patches_NP: Tensor
    text_ND: Tensor
    is_text_N: Tensor
    given_N: Tensor
    positions_N3: Tensor
    timesteps_U: Tensor
    timestep_index_N: Tensor
    layout: Layout


def timestep_features(t_U: Tensor, width: int) -> Tensor:
    """Sinusoidal features of timesteps in [0, 1] (Vaswani et al., 2017). (U, width), float32."""
    frequencies = torch.exp(torch.linspace(0, math.log(1000.0), width // 2, device=t_U.device))
    angles = t_U.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def rotary(positions_N3: Tensor, head_width: int) -> Tensor:
    """Cosines and sines for rotary embedding over three axes. Returns (2, N, head_width / 2)."""
    pairs = head_width // 2
    sizes = (pairs - 2 * (pairs // 3), pairs // 3, pairs // 3)
    angles = []
    for axis, size in enumerate(sizes):
        frequencies = torch.exp(
            -math.log(100.0) * torch.arange(size, device=positions_N3.device) / max(size, 1)
        )
        angles.append(positions_N3[:, axis : axis + 1].float() * frequencies)
    angle = torch.cat(angles, dim=-1)
    return torch.stack([angle.cos(), angle.sin()])


def rotate(x_NHK: Tensor, cos_sin: Tensor) -> Tensor:
    """Apply rotary embedding (Su et al., 2021) to queries or keys."""
    cos, sin = cos_sin[:, :, None].to(x_NHK.dtype)
    a, b = x_NHK.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class Block(nn.Module):
    """Pre-norm attention and SwiGLU, each shifted, scaled and gated by the row's timestep."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        width, hidden = config.width, int(config.width * config.mlp_ratio * 2 / 3) // 32 * 32
        self.heads = config.heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = nn.Linear(width, width, bias=False)
        self.mlp_in = nn.Linear(width, 2 * hidden, bias=False)
        self.mlp_out = nn.Linear(hidden, width, bias=False)
        self.modulation = nn.Parameter(torch.zeros(6, width))
        head_width = width // config.heads
        self.q_gain = nn.Parameter(torch.ones(head_width))
        self.k_gain = nn.Parameter(torch.ones(head_width))

    def forward(
        self, x_ND: Tensor, table_U6D: Tensor, index_N: Tensor, cos_sin: Tensor, layout: Layout
    ) -> Tensor:
        table = table_U6D + self.modulation
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = table.index_select(0, index_N).unbind(
            1
        )
        normed = F.rms_norm(x_ND, x_ND.shape[-1:]) * (1 + scale) + shift
        x_ND = x_ND + gate * self._attention(normed, cos_sin, layout)
        normed = F.rms_norm(x_ND, x_ND.shape[-1:]) * (1 + scale_mlp) + shift_mlp
        up, gates = self.mlp_in(normed).chunk(2, dim=-1)
        out: Tensor = x_ND + gate_mlp * self.mlp_out(up * F.silu(gates))
        return out

    def _attention(self, x_ND: Tensor, cos_sin: Tensor, layout: Layout) -> Tensor:
        q, k, v = self.qkv(x_ND).unflatten(-1, (3, self.heads, -1)).unbind(1)
        # Normalised queries and keys keep attention logits bounded, so training stays stable.
        q = rotate(F.rms_norm(q, q.shape[-1:]) * self.q_gain, cos_sin)
        k = rotate(F.rms_norm(k, k.shape[-1:]) * self.k_gain, cos_sin)
        out: Tensor = self.attention_out(attend(q, k, v.to(q.dtype), layout).flatten(1))
        return out


class DiT(nn.Module):
    """Velocity of every latent patch, given noisy patches, text and per-row timesteps."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        patch_values = config.latent_channels * config.patch**2
        self.patch_in = nn.Linear(patch_values, config.width)
        self.text_in = nn.Linear(config.text_width, config.width)
        self.kind = nn.Parameter(torch.zeros(2, config.width))  # noisy patch, given patch
        self.timestep = nn.Sequential(
            nn.Linear(256, config.width), nn.SiLU(), nn.Linear(config.width, 6 * config.width)
        )
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.out_modulation = nn.Linear(config.width, 2 * config.width)
        self.patch_out = nn.Linear(config.width, patch_values)
        self._initialise()

    def _initialise(self) -> None:
        # Gates and output start at zero: each block is the identity and the velocity is zero.
        depth = 1 / math.sqrt(2 * self.config.depth)
        for block in self.blocks:
            assert isinstance(block, Block)
            for layer in (block.qkv, block.mlp_in):
                nn.init.xavier_uniform_(layer.weight)
            for layer in (block.attention_out, block.mlp_out):
                nn.init.xavier_uniform_(layer.weight, gain=depth)
        for last in (self.timestep[2], self.patch_out, self.out_modulation):
            assert isinstance(last, nn.Linear)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, rows: Rows) -> Tensor:
        """Velocity d(latent)/dt, (N, P); rows that are text hold nothing meaningful."""
        config = self.config
        kind = self.kind[rows.given_N.long()]
        patches = self.patch_in(rows.patches_NP) + kind
        x_ND = torch.where(rows.is_text_N[:, None], self.text_in(rows.text_ND), patches)
        features = timestep_features(rows.timesteps_U, 256).to(rows.patches_NP.dtype)
        table_U6D = self.timestep(features).unflatten(-1, (6, config.width))
        cos_sin = rotary(rows.positions_N3, config.width // config.heads)
        for block in self.blocks:
            x_ND = block(x_ND, table_U6D, rows.timestep_index_N, cos_sin, rows.layout)
        hidden = self.timestep[1](self.timestep[0](features))
        shift, scale = (
            self.out_modulation(hidden).index_select(0, rows.timestep_index_N).chunk(2, dim=-1)
        )
        out: Tensor = self.patch_out(F.rms_norm(x_ND, x_ND.shape[-1:]) * (1 + scale) + shift)
        return out
