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
        noise, config = self.recipe.noise, self.recipe.config
        chance = float(torch.rand((), generator=rng))
        skipped = int(len(latents) > 2 and chance < noise.midstream_share)
        given = sample_given(grid_of(latents[skipped:], config), noise, rng)
        if skipped and not given.any():  # nothing to go on from: it is a video's start after all
            skipped, given = 0, torch.cat([given[:1], given])
        memory = self._memory(latents[:skipped], rng)
        timesteps = sample_timesteps(given, noise, rng)
        sample = noised(latents[skipped:], given, timesteps, tokens, self.fps, rng)
        return replace(sample, opens=not skipped, memory=memory)

    def _memory(self, skipped_GChw: Tensor, rng: Generator) -> tuple[Memory, ...]:
        """What a window is told of the frame before it: nothing, its look, a coarse view, or both.

        The look is placed where a rollout places its anchor.
        """
        rollout, memories = self.recipe.rollout, []
        coarse, anchor = (torch.rand(2, generator=rng) < 0.5).tolist()
        if coarse and len(skipped_GChw) and rollout.history:
            small = coarser(skipped_GChw, rollout.history[0], self.recipe.config.patch)
            memories.append(Memory(small, torch.tensor([-GROUP / self.fps])))
        if anchor and len(skipped_GChw) and rollout.anchor:
            memories.append(Memory(skipped_GChw, torch.tensor([-rollout.far_s])))
        return tuple(memories)


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
