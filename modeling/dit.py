"""The diffusion transformer: packed spacetime patches and their texts in, velocities out.

A stream of patches through pre-norm blocks; text is only looked at. Every latent frame has a
timestep of its own: a frame at t = 0 is given and clean, a frame at t = 1 is noise. Text-to-video,
image-to-video, extension in both directions and single images differ only in which frames are
given; the network has no other notion of a task.

Positions are in seconds along time and in units of the frame's shorter side along space, so frame
rate and resolution are parameters and not retraining. They turn queries and keys (rotary), and the
same waves are added to the rows. Adaptive layer norm follows DiT (Peebles and Xie, 2023), where
each block has a matrix of its own for it. Evaluated once per distinct timestep, it costs next to
nothing, while a table that all blocks share (PixArt-alpha, Chen et al., 2023) has to be paid for
with more blocks.

Shapes: N patch rows, M text rows, D width, W text width, H heads, K channels a head, U distinct
timesteps, P patch values.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from modeling.packing import Layout, attend


@dataclass(frozen=True, kw_only=True)
class DiTConfig:
    """Sizes of the transformer. `patch` latent positions along each spatial side make one row."""

    width: int = 192
    depth: int = 4
    heads: int = 3
    patch: int = 2
    latent_channels: int = 16
    text_width: int = 192
    mlp_ratio: float = 3.0
    second: float = 6.0
    """Rotary units per second of time."""
    side: float = 8.0
    """Rotary units across the frame's shorter side."""


@dataclass(frozen=True)
class Rows:
    """One packed batch.

    patches_NP: noisy latent patches.
    given_N: which of them belong to what is given (clean).
    positions_N3: seconds, y, x; see `rotary`.
    timesteps_U: the distinct timesteps; timestep_index_N picks one per row.
    text_MW: text features.
    text_positions_M3: tokens, counted on the first axis.
    """

    patches_NP: Tensor
    given_N: Tensor
    positions_N3: Tensor
    timesteps_U: Tensor
    timestep_index_N: Tensor
    text_MW: Tensor
    text_positions_M3: Tensor
    layout: Layout


@dataclass(frozen=True)
class Entered:
    """Rows on their way into the blocks.

    x_ND: features of patches. text_MD: of text, the same for all blocks. hidden_UD: embedding of
    each distinct timestep; index_N picks one per row. turn, text_turn: rotary embeddings.
    """

    x_ND: Tensor
    hidden_UD: Tensor
    index_N: Tensor
    turn: Tensor
    text_MD: Tensor
    text_turn: Tensor
    layout: Layout


def timestep_features(t_U: Tensor, width: int) -> Tensor:
    """Sinusoidal features of timesteps in [0, 1] (Vaswani et al., 2017). (U, width), float32."""
    frequencies = torch.exp(torch.linspace(0, math.log(1000.0), width // 2, device=t_U.device))
    angles = t_U.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def rotary(positions_N3: Tensor, head_width: int) -> Tensor:
    """Cosines and sines for rotary embedding over three axes, (N, 1, head_width / 2, 2)."""
    pairs = head_width // 2
    sizes = (pairs - 2 * (pairs // 3), pairs // 3, pairs // 3)
    angles = []
    for axis, size in enumerate(sizes):
        frequencies = torch.exp(
            -math.log(100.0) * torch.arange(size, device=positions_N3.device) / max(size, 1)
        )
        angles.append(positions_N3[:, axis : axis + 1].float() * frequencies)
    angle = torch.cat(angles, dim=-1)
    return torch.stack([angle.cos(), angle.sin()], dim=-1)[:, None]


def rotate(x_NHK: Tensor, turn: Tensor) -> Tensor:
    """Apply rotary embedding (Su et al., 2021) to queries or keys: pairs of channels turn."""
    pairs = x_NHK.float().unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():  # compilers make no code for complex numbers
        (x, y), (cos, sin) = pairs.unbind(-1), turn.unbind(-1)
        turned = torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1)
    else:
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(turn))
    return turned.flatten(-2).to(x_NHK.dtype)


def norm(x_ND: Tensor) -> Tensor:
    """Layer norm without parameters: what follows is scaled by the timestep."""
    return F.layer_norm(x_ND, x_ND.shape[-1:])


class SwiGLU(torch.autograd.Function):
    """a * silu(b) of the two halves of a row (Shazeer, 2020).

    Both gradients are written where they belong; autograd alone would make them apart and then copy
    them together.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor) -> Tensor:
        up, gates = rows.chunk(2, dim=-1)
        opened = F.silu(gates)
        ctx.save_for_backward(rows, opened)
        return up * opened

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        rows, opened = ctx.saved_tensors
        up, gates = rows.chunk(2, dim=-1)
        both = torch.empty_like(rows)
        up_grad, gates_grad = both.chunk(2, dim=-1)
        torch.mul(grad, opened, out=up_grad)
        torch.mul(grad, up, out=gates_grad)
        torch.ops.aten.silu_backward.grad_input(gates_grad, gates, grad_input=gates_grad)
        return both


def swiglu(rows: Tensor) -> Tensor:
    """(N, 2 * hidden) -> (N, hidden)."""
    if torch.compiler.is_compiling():  # which does better still
        up, gates = rows.chunk(2, dim=-1)
        return up * F.silu(gates)
    out: Tensor = SwiGLU.apply(rows)
    return out


class Block(nn.Module):
    """Attention and SwiGLU, pre-norm, each scaled and gated by the row's timestep.

    Text gives attention keys and values and goes no way of its own: it is the same for all blocks,
    so most of the work is done on patches alone. There is no shift: it bought nothing measurable
    here, and on CPU every further element-wise pass over the rows costs as much as a small matrix
    product.
    """

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        width, hidden = config.width, int(config.width * config.mlp_ratio * 2 / 3) // 32 * 32
        self.heads = config.heads
        self.modulation = nn.Linear(width, 4 * width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.text_kv = nn.Linear(width, 2 * width, bias=False)
        self.attention_out = nn.Linear(width, width, bias=False)
        self.mlp_in = nn.Linear(width, 2 * hidden, bias=False)
        self.mlp_out = nn.Linear(hidden, width, bias=False)
        head_width = width // config.heads
        self.q_gain = nn.Parameter(torch.ones(head_width))
        self.k_gain = nn.Parameter(torch.ones(head_width))

    def forward(self, x_ND: Tensor, entered: Entered) -> Tensor:
        scale, gate, mlp_scale, mlp_gate = self.modulation(entered.hidden_UD).chunk(4, dim=-1)
        index_N = entered.index_N
        q, k, v = self.queries(x_ND, scale, index_N, entered.turn)
        text_k, text_v = self.words(entered.text_MD, entered.text_turn)
        attended = attend(q, k, v, text_k, text_v, entered.layout)
        return self.mix(x_ND, attended, gate, mlp_scale, mlp_gate, index_N)

    def queries(
        self, x_ND: Tensor, scale_UD: Tensor, index_N: Tensor, turn: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of patches, each (N, H, K)."""
        qkv = self.qkv(norm(x_ND) * (1 + scale_UD).index_select(0, index_N))
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).unbind(1)
        # Normalised queries and keys keep attention logits bounded, so training stays stable.
        q = rotate(F.layer_norm(q, q.shape[-1:], self.q_gain), turn)
        k = rotate(F.layer_norm(k, k.shape[-1:], self.k_gain), turn)
        return q, k, v.to(q.dtype)

    def words(self, text_MD: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of text, each (M, H, K)."""
        k, v = self.text_kv(text_MD).unflatten(-1, (2, self.heads, -1)).unbind(1)
        k = rotate(F.layer_norm(k, k.shape[-1:], self.k_gain), turn)
        return k, v.to(k.dtype)

    def mix(
        self,
        x_ND: Tensor,
        attended_NHK: Tensor,
        gate_UD: Tensor,
        mlp_scale_UD: Tensor,
        mlp_gate_UD: Tensor,
        index_N: Tensor,
    ) -> Tensor:
        """What follows attention: its output and the SwiGLU are added to the rows."""
        out = self.attention_out(attended_NHK.flatten(1))
        x_ND = torch.addcmul(x_ND, gate_UD.index_select(0, index_N), out)
        hidden = self.mlp_in(norm(x_ND) * (1 + mlp_scale_UD).index_select(0, index_N))
        out = self.mlp_out(swiglu(hidden))
        return torch.addcmul(x_ND, mlp_gate_UD.index_select(0, index_N), out)


class DiT(nn.Module):
    """Velocity of every latent patch, given noisy patches, text and per-row timesteps."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        patch_values = config.latent_channels * config.patch**2
        self.patch_in = nn.Linear(patch_values, config.width)
        self.text_in = nn.Linear(config.text_width, config.width)
        self.place = nn.Linear(config.width // config.heads, config.width)
        self.kind = nn.Parameter(torch.zeros(2, config.width))  # noisy patch, given patch
        self.timestep = nn.Sequential(nn.Linear(256, config.width), nn.SiLU())
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.out_scale = nn.Linear(config.width, config.width)
        self.patch_out = nn.Linear(config.width, patch_values)
        self._initialise()

    def _initialise(self) -> None:
        # Gates and output start at zero: each block is the identity and the velocity is zero.
        depth, zeros = 1 / math.sqrt(2 * self.config.depth), [self.patch_out, self.out_scale]
        for block in self.blocks:
            assert isinstance(block, Block)
            for layer in (block.qkv, block.text_kv, block.mlp_in):
                nn.init.xavier_uniform_(layer.weight)
            for layer in (block.attention_out, block.mlp_out):
                nn.init.xavier_uniform_(layer.weight, gain=depth)
            zeros.append(block.modulation)
        for last in zeros:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, rows: Rows) -> Tensor:
        """Velocity d(latent)/dt of each patch row, (N, P)."""
        entered = self.enter(rows)
        x_ND = entered.x_ND
        for block in self.blocks:
            x_ND = block(x_ND, entered)
        return self.leave(x_ND, entered)

    def enter(self, rows: Rows) -> Entered:
        """What the blocks work on: the rows' features, and what their timesteps and places say."""
        head_width, dtype = self.config.width // self.config.heads, rows.patches_NP.dtype
        hidden_UD = self.timestep(timestep_features(rows.timesteps_U, 256).to(dtype))
        turn = rotary(rows.positions_N3, head_width)
        text_turn = rotary(rows.text_positions_M3, head_width)
        x_ND = self.patch_in(rows.patches_NP) + self.kind.index_select(0, rows.given_N.long())
        x_ND = x_ND + self.place(turn.flatten(1).to(dtype))
        text_MD = norm(self.text_in(rows.text_MW) + self.place(text_turn.flatten(1).to(dtype)))
        index_N = rows.timestep_index_N
        return Entered(x_ND, hidden_UD, index_N, turn, text_MD, text_turn, rows.layout)

    def leave(self, x_ND: Tensor, entered: Entered) -> Tensor:
        """From the last block's rows to velocities, (N, P)."""
        scale = (1 + self.out_scale(entered.hidden_UD)).index_select(0, entered.index_N)
        out: Tensor = self.patch_out(norm(x_ND) * scale)
        return out
