"""What our transformer is measured against: the field's own classes, trained on the same samples.

`LTXVideoTransformer3DModel` and `WanTransformer3DModel` of diffusers, set to our patch and to our
number of parameters. Each sees the same latents, words, noise, and timesteps, one for each latent
patch, as the job needs (given frames are at t = 0). Only how documents become a batch differs:
they take rectangles, so clips of mixed sizes are padded to the longest or drawn from one bucket.

Shapes: B documents, S patch rows of a document, P patch values, L text tokens.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from modeling.dit import DiT, DiTConfig
from modeling.documents import (
    Document,
    frame_seconds,
    over_rows,
    pack,
    patchify,
    split,
    unpatchify,
)
from modeling.noise import over_latents
from modeling.text import TextEncoder, token_tensor
from modeling.train_dit import Sample, dit_loss
from modeling.vae import SPATIAL

TIMESTEPS = 1000.0  # both peers count timesteps from 0 to 1000
LTX_SECONDS, LTX_PIXELS = 20.0, 2048.0  # what its rotary embedding divides coordinates by
OUR_SECONDS, OUR_PIXELS = 4.0, 128.0  # the extent of these clips, spread over LTX's
PATCH = 2


class Contender(Protocol):
    """A model that can learn from samples."""

    name: str

    def parameters(self) -> list[nn.Parameter]: ...

    def loss(self, samples: Sequence[Sample]) -> Tensor:
        """Mean squared velocity error over all values that were asked for."""
        ...


class Ours:
    """The packed transformer."""

    name = "ours"

    def __init__(self, config: DiTConfig, vocabulary: int) -> None:
        self.dit, self.text = DiT(config), TextEncoder(vocabulary, config.text_width)

    def parameters(self) -> list[nn.Parameter]:
        return [*self.dit.parameters(), *self.text.parameters()]

    def loss(self, samples: Sequence[Sample]) -> Tensor:
        return dit_loss(self.dit, self.text, samples)

    def velocities(self, samples: Sequence[Sample]) -> list[Tensor]:
        """Predicted velocities, (G, C, h, w) for each."""
        lengths = [len(s.tokens) for s in samples]
        words = self.text(token_tensor(token for s in samples for token in s.tokens), lengths)
        documents = [
            Document(s.noisy_GChw, text, s.timesteps_Gyx, s.given_Gyx, s.fps)
            for s, text in zip(samples, words.split(lengths), strict=True)
        ]
        rows = pack(documents, self.dit.config)
        return split(self.dit(rows), documents, self.dit.config)


class Ltx:
    """LTX's transformer; documents of other lengths are padded, padding carries no loss."""

    name = "LTX"

    def __init__(self, config: DiTConfig, vocabulary: int) -> None:
        from diffusers import LTXVideoTransformer3DModel

        values = config.latent_channels * config.patch**2
        self.net = LTXVideoTransformer3DModel(
            in_channels=values,
            out_channels=values,
            num_attention_heads=config.heads,
            attention_head_dim=config.width // config.heads,
            cross_attention_dim=config.width,
            num_layers=config.depth,
            caption_channels=config.text_width,
        )
        self.text = TextEncoder(vocabulary, config.text_width)

    def parameters(self) -> list[nn.Parameter]:
        return [*self.net.parameters(), *self.text.parameters()]

    def velocity(self, samples: Sequence[Sample]) -> Tensor:
        """Predicted velocities, (B, S, P), S rows of the longest document."""
        words, mask = padded_text(self.text, samples)
        noisy, times, places = (
            pad_sequence(parts, True).to(words.device)
            for parts in (
                [patchify(s.noisy_GChw, PATCH) for s in samples],
                [TIMESTEPS * row_times(s) for s in samples],
                [coordinates(s) for s in samples],
            )
        )
        predicted: Tensor = self.net(
            hidden_states=noisy,
            encoder_hidden_states=words,
            timestep=times,
            encoder_attention_mask=mask,
            video_coords=places.transpose(1, 2),
            return_dict=False,
        )[0]
        return predicted

    def velocities(self, samples: Sequence[Sample]) -> list[Tensor]:
        """Predicted velocities, (G, C, h, w) for each."""
        shapes = [s.noisy_GChw.shape for s in samples]
        rows = [shape[0] * shape[2] * shape[3] // PATCH**2 for shape in shapes]
        predicted = zip(self.velocity(samples), rows, shapes, strict=True)
        return [unpatchify(x[:count], shape, PATCH) for x, count, shape in predicted]

    def loss(self, samples: Sequence[Sample]) -> Tensor:
        predicted = self.velocity(samples)
        target, asked = (
            pad_sequence(parts, True).to(predicted.device)
            for parts in (
                [patchify(s.velocity_GChw, PATCH) for s in samples],
                [row_times(s) > 0 for s in samples],
            )
        )
        error: Tensor = (predicted - target)[asked].square().mean()
        return error


class Wan:
    """Wan's transformer; documents of one shape only."""

    name = "Wan"

    def __init__(self, config: DiTConfig, vocabulary: int) -> None:
        from diffusers import WanTransformer3DModel

        self.net = WanTransformer3DModel(
            patch_size=(1, config.patch, config.patch),
            num_attention_heads=config.heads,
            attention_head_dim=config.width // config.heads,
            in_channels=config.latent_channels,
            out_channels=config.latent_channels,
            text_dim=config.text_width,
            ffn_dim=4 * config.width,
            num_layers=config.depth,
        )
        self.text = TextEncoder(vocabulary, config.text_width)

    def parameters(self) -> list[nn.Parameter]:
        return [*self.net.parameters(), *self.text.parameters()]

    def loss(self, samples: Sequence[Sample]) -> Tensor:
        words, _ = padded_text(self.text, samples)
        noisy, times, target, asked = (
            torch.stack(parts).to(words.device)
            for parts in (
                [s.noisy_GChw.transpose(0, 1) for s in samples],
                [TIMESTEPS * row_times(s) for s in samples],
                [s.velocity_GChw for s in samples],
                [asked_values(s) for s in samples],
            )
        )
        predicted = self.net(noisy, times, words, return_dict=False)[0].transpose(1, 2)
        error: Tensor = (predicted - target)[asked].square().mean()
        return error


def padded_text(text: TextEncoder, samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
    """Features of the captions (B, L, width), and which are words, (B, L)."""
    device = next(text.parameters()).device
    features = text(token_tensor(token for s in samples for token in s.tokens).to(device))
    parts = features.split([len(s.tokens) for s in samples])
    ones = [torch.ones(len(s.tokens), device=device) for s in samples]
    return pad_sequence(list(parts), True), pad_sequence(ones, True)


def row_times(sample: Sample) -> Tensor:
    """Each patch row's timestep, (S,)."""
    frames, _, height, width = sample.noisy_GChw.shape
    return over_rows(sample.timesteps_Gyx, (frames, height // PATCH, width // PATCH))


def asked_values(sample: Sample) -> Tensor:
    """Which latent values carry loss, (G, C, h, w)."""
    return over_latents(~sample.given_Gyx, sample.noisy_GChw).expand_as(sample.noisy_GChw)


def coordinates(sample: Sample) -> Tensor:
    """Time and place of each patch row, (S, 3), spread over the range that LTX was made for."""
    frames, _, height, width = sample.noisy_GChw.shape
    t = frame_seconds(frames, sample.fps) * LTX_SECONDS / OUR_SECONDS
    y, x = (
        (torch.arange(side // PATCH) + 0.5) * SPATIAL * PATCH * LTX_PIXELS / OUR_PIXELS
        for side in (height, width)
    )
    return torch.stack(torch.meshgrid(t, y, x, indexing="ij"), dim=-1).reshape(-1, 3)


def count(model: Contender) -> int:
    return sum(p.numel() for p in model.parameters())


def matched(kind: type[Ltx] | type[Wan], config: DiTConfig, vocabulary: int) -> Contender:
    """The peer of the same width whose number of layers brings it nearest to ours in parameters."""
    wanted = count(Ours(config, vocabulary))

    def distance(depth: int) -> int:
        with torch.device("meta"):
            model = kind(replace(config, depth=depth), vocabulary)
        return abs(count(model) - wanted)

    return kind(replace(config, depth=min(range(1, 2 * config.depth), key=distance)), vocabulary)
