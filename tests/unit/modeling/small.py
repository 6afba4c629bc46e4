"""Small models and clips that the modeling tests share."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from modeling.bundle import Bundle
from modeling.data import Clip
from modeling.dit import DiT, DiTConfig
from modeling.documents import Document
from modeling.latents import LatentClip
from modeling.recipes import ModelRecipe, tiny
from modeling.text import TextEncoder, Tokenizer
from modeling.train_dit import Sample, noised
from modeling.vae import VAEConfig, VideoVAE

WIDTH = 64
CHANNELS = 6


def small_recipe(steps: int = 4) -> ModelRecipe:
    base = tiny()
    optimizer = dataclasses.replace(base.dit.optimizer, steps=steps, batch=4, warmup_steps=2)
    config = DiTConfig(
        width=WIDTH, depth=2, heads=2, patch=2, latent_channels=CHANNELS, text_width=WIDTH
    )
    vae = VAEConfig(latent_channels=CHANNELS, widths=(16, 24), encoder_depth=1, decoder_depth=1)
    sampler = dataclasses.replace(base.dit.sampler, steps=3)
    return dataclasses.replace(
        base,
        name="small",
        vae=dataclasses.replace(base.vae, config=vae, optimizer=optimizer),
        dit=dataclasses.replace(base.dit, config=config, optimizer=optimizer, sampler=sampler),
    )


def shaken(module: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights everywhere: zero-initialised outputs would hide every difference."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data.copy_(0.1 * noise if parameter.ndim > 1 else parameter + 0.1 * noise)
    return module.eval().requires_grad_(False)


def small_bundle(words: str = "a red ball rolls left") -> Bundle:
    recipe, tokenizer = small_recipe(), Tokenizer(words.split())
    vae, dit = VideoVAE(recipe.vae.config), DiT(recipe.dit.config)
    text = TextEncoder(len(tokenizer), WIDTH)
    for number, module in enumerate((vae, dit, text)):
        shaken(module, number)
    return Bundle(recipe, vae, dit, text, tokenizer, {})


def document(
    frames: int, height: int, width: int, tokens: int, seed: int, given: int = 0
) -> Document:
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.arange(frames) < given).view(-1, 1, 1)
    return Document(
        torch.randn(frames, CHANNELS, height, width, generator=generator),
        torch.randn(tokens, WIDTH, generator=generator),
        torch.full((frames, 1, 1), 0.1 + 0.1 * (seed % 8)).masked_fill(mask, 0),
        mask,
        8.0,
    )


def noisy_sample(latents_GChw: Tensor, tokens: list[int], seed: int) -> Sample:
    """One training document of which nothing is given, half way to noise."""
    frames = len(latents_GChw)
    given, steps = torch.zeros(frames, 1, 1, dtype=torch.bool), torch.full((frames, 1, 1), 0.5)
    generator = torch.Generator().manual_seed(seed)
    return noised(latents_GChw, given, steps, tokens, 8.0, generator)


def moving_clip(clip_id: str, frames: int = 9, side: int = 48, split: str = "train") -> Clip:
    """A bright block that moves over a dark ground, a little differently for each id."""
    shift = sum(clip_id.encode()) % 16
    pixels = np.full((frames, side, side, 3), 30, np.uint8)
    for index in range(frames):
        left = (shift + 3 * index) % (side - 12)
        pixels[index, 12:24, left : left + 12] = (220, 60 + 4 * shift, 60)
    return Clip(clip_id, "a red ball rolls left", split, pixels)


class MemoryStore:
    """Clips of different sizes and durations, as a `LatentStore` hands them out."""

    def __init__(self, count: int = 24) -> None:
        generator = torch.Generator().manual_seed(5)
        kinds = [(2, 3, 6, 6), (1, 2, 8, 6), (1, 4, 6, 8), (1, 1, 10, 10)]
        self.shapes = [kinds[index % len(kinds)] for index in range(count)]
        self.clip_ids = [f"{index:08x}" for index in range(count)]
        self.captions = [
            " ".join(["a red ball", "rolls", "left"][: 1 + i % 3]) for i in range(count)
        ]
        colour = torch.randn(1, 1, CHANNELS, 1, 1, generator=generator)  # what there is to learn
        self.windows = [
            colour
            + 0.2 * torch.randn(windows, frames, CHANNELS, height, width, generator=generator)
            for windows, frames, height, width in self.shapes
        ]
        self.shapes = [tuple(windows.shape) for windows in self.windows]

    def __len__(self) -> int:
        return len(self.clip_ids)

    def clips(self, indices: Sequence[int]) -> list[LatentClip]:
        return [LatentClip(self.clip_ids[i], self.captions[i], self.windows[i]) for i in indices]
