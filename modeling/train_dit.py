"""Training the transformer: packed batches of noisy latents, one velocity loss for every task."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from modeling.dit import DiT
from modeling.documents import (
    Document,
    Memory,
    coarser,
    grid_of,
    over_rows,
    pack,
    patchify,
    table_order,
)
from modeling.latents import LatentClip
from modeling.noise import add_noise, sample_given, sample_timesteps
from modeling.recipes import TransformerRecipe
from modeling.text import NULL, TextEncoder, Tokenizer, token_tensor
from modeling.vae import GROUP


@dataclass(frozen=True)
class Sample:
    """One training document before its text is embedded; see `Document`."""

    noisy_GChw: Tensor
    velocity_GChw: Tensor
    timesteps_Gyx: Tensor
    given_Gyx: Tensor
    tokens: list[int]
    fps: float
    opens: bool = True
    memory: tuple[Memory, ...] = ()


class SampleMaker:
    """Draws batches: a random window of a random clip, a random pattern of what is given, noise."""

    def __init__(
        self,
        clips: Sequence[LatentClip],
        tokenizer: Tokenizer,
        recipe: TransformerRecipe,
        fps: float,
    ) -> None:
        self.clips, self.recipe, self.fps = clips, recipe, fps
        self.tokens = [tokenizer.encode(clip.caption) for clip in clips]

    def __call__(self, rng: Generator) -> list[Sample]:
        picked = torch.randint(len(self.clips), (self.recipe.optimizer.batch,), generator=rng)
        return [self._sample(index, rng) for index in picked.tolist()]

    def _sample(self, index: int, rng: Generator) -> Sample:
        windows = self.clips[index].windows_WGChw
        latents = windows[int(torch.randint(len(windows), (), generator=rng))]
        drop, image = torch.rand(2, generator=rng).tolist()
        if image < self.recipe.image_share:
            latents = latents[:1]
        tokens = [NULL] if drop < self.recipe.caption_drop else self.tokens[index]
        patch = self.recipe.config.patch
        grid = (len(latents), latents.shape[2] // patch, latents.shape[3] // patch)
        noise = self.recipe.noise
        midstream = (
            len(latents) > 2 and float(torch.rand((), generator=rng)) < noise.midstream_share
        )
        given = sample_given((grid[0] - midstream, *grid[1:]), noise, rng)
        memory: tuple[Memory, ...] = ()
        if midstream and given.any():
            memory, latents = self._memory(latents[:1], rng), latents[1:]
        elif midstream:  # nothing to go on from: it is a video's start after all
            midstream, given = False, torch.cat([given[:1], given])
        timesteps = sample_timesteps(given, noise, rng)
        sample = noised(latents, given, timesteps, tokens, self.fps, rng)
        return replace(sample, opens=not midstream, memory=memory)

    def _memory(self, latents_1Chw: Tensor, rng: Generator) -> tuple[Memory, ...]:
        """What is remembered of the frame before a window: nothing, its look, or a coarse view."""
        rollout = self.recipe.rollout
        kind = int(torch.randint(3, (), generator=rng))
        if kind == 0:
            return ()
        if kind == 1:
            return (Memory(latents_1Chw, torch.tensor([-rollout.far_s])),)
        factor = rollout.history[0] if rollout.history else 2
        small = coarser(latents_1Chw, factor, self.recipe.config.patch)
        return (Memory(small, torch.tensor([-GROUP / self.fps])),)


def noised(
    latents_GChw: Tensor,
    given_Gyx: Tensor,
    timesteps_Gyx: Tensor,
    tokens: list[int],
    fps: float,
    rng: Generator,
) -> Sample:
    """A sample at those timesteps, which are 0 for what is given."""
    noise = torch.randn(latents_GChw.shape, generator=rng)
    noisy = add_noise(latents_GChw, noise, timesteps_Gyx)
    return Sample(noisy, noise - latents_GChw, timesteps_Gyx, given_Gyx, tokens, fps)


def dit_loss(dit: DiT, text: TextEncoder, samples: Sequence[Sample]) -> Tensor:
    """Mean squared velocity error over all values that were asked for, in the whole batch."""
    ids = token_tensor(token for sample in samples for token in sample.tokens)
    features = text(ids).split([len(sample.tokens) for sample in samples])
    documents = [
        Document(s.noisy_GChw, feature, s.timesteps_Gyx, s.given_Gyx, s.fps, s.opens, s.memory)
        for s, feature in zip(samples, features, strict=True)
    ]
    rows = pack(documents, dit.config)
    predicted = dit(rows)[~(rows.is_text_N | rows.given_N)].float()
    wanted = []
    for sample in (samples[index] for index in table_order(documents)):
        asked = ~over_rows(sample.given_Gyx, grid_of(sample.noisy_GChw, dit.config))
        wanted.append(patchify(sample.velocity_GChw, dit.config.patch)[asked])
    error: Tensor = (predicted - torch.cat(wanted)).square().mean()
    return error
