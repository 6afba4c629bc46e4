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
from modeling.text import NULL, CaptionEncoder, CaptionTokenizer, token_tensor
from modeling.trainer import Summed
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
    """Makes samples: a random window of a clip, a random pattern of what is given, noise."""

    def __init__(self, tokenizer: CaptionTokenizer, recipe: TransformerRecipe, fps: float) -> None:
        self.tokenizer, self.recipe, self.fps = tokenizer, recipe, fps

    def tokens(self, caption: str) -> int:
        """Rows of text that a caption takes."""
        return len(self.tokenizer.encode(caption))

    def sample(self, clip: LatentClip, image: bool, rng: Generator) -> Sample:
        """One document; as an `image`, it is the first frame of the window alone."""
        windows = clip.windows_WGChw
        latents = windows[int(torch.randint(len(windows), (), generator=rng))]
        drop = float(torch.rand((), generator=rng)) < self.recipe.caption_drop
        if image:
            latents = latents[:1]
        tokens = [NULL] if drop else self.tokenizer.encode(clip.caption)
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


def dit_loss(dit: DiT, text: CaptionEncoder, samples: Sequence[Sample]) -> Tensor:
    """Mean squared velocity error over all values that were asked for, in the whole batch."""
    return velocity_error(dit, text, samples).mean


def velocity_error(dit: DiT, text: CaptionEncoder, samples: Sequence[Sample]) -> Summed:
    """Squared velocity error of all values that were asked for, and how many they are."""
    device = dit.kind.device
    ids = token_tensor(token for sample in samples for token in sample.tokens).to(device)
    lengths = [len(sample.tokens) for sample in samples]
    features = text(ids, lengths).split(lengths)
    documents = [
        Document(
            s.noisy_GChw.to(device),
            feature,
            s.timesteps_Gyx,
            s.given_Gyx,
            s.fps,
            s.opens,
            tuple(replace(m, latents_GChw=m.latents_GChw.to(device)) for m in s.memory),
        )
        for s, feature in zip(samples, features, strict=True)
    ]
    rows = pack(documents, dit.config)
    predicted = dit(rows)[~rows.given_N].float()
    wanted = []
    for sample in (samples[index] for index in table_order(documents)):
        asked = ~over_rows(sample.given_Gyx, grid_of(sample.noisy_GChw, dit.config))
        wanted.append(patchify(sample.velocity_GChw, dit.config.patch)[asked])
    error = (predicted - torch.cat(wanted).to(device)).square()
    return Summed(error.sum(), error.numel())
