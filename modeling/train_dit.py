"""Training the transformer: packed batches of noisy latents, one velocity loss for every task."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from modeling.dit import DiT
from modeling.documents import Document, pack, patchify, table_order
from modeling.latents import LatentClip
from modeling.noise import add_noise, sample_given, sample_timesteps
from modeling.recipes import TransformerRecipe
from modeling.text import NULL, CaptionEncoder, CaptionTokenizer, token_tensor


@dataclass(frozen=True)
class Sample:
    """One training document before its text is embedded."""

    noisy_GChw: Tensor
    velocity_GChw: Tensor
    timesteps_G: Tensor
    given_G: Tensor
    tokens: list[int]
    fps: float


class SampleMaker:
    """Draws batches: a random window of a random clip, a random pattern of given frames, noise."""

    def __init__(
        self,
        clips: Sequence[LatentClip],
        tokenizer: CaptionTokenizer,
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
        given = sample_given(len(latents), self.recipe.noise, rng)
        timesteps = sample_timesteps(given, self.recipe.noise, rng)
        return noised(latents, given, timesteps, tokens, self.fps, rng)


def noised(
    latents_GChw: Tensor,
    given_G: Tensor,
    timesteps_G: Tensor,
    tokens: list[int],
    fps: float,
    rng: Generator,
) -> Sample:
    """A sample at those timesteps, which are 0 for given frames."""
    noise = torch.randn(latents_GChw.shape, generator=rng)
    noisy = add_noise(latents_GChw, noise, timesteps_G)
    return Sample(noisy, noise - latents_GChw, timesteps_G, given_G, tokens, fps)


def dit_loss(dit: DiT, text: CaptionEncoder, samples: Sequence[Sample]) -> Tensor:
    """Mean squared velocity error over all values that were asked for, in the whole batch."""
    ids = token_tensor(token for sample in samples for token in sample.tokens)
    lengths = [len(sample.tokens) for sample in samples]
    features = text(ids, lengths).split(lengths)
    documents = [
        Document(s.noisy_GChw, feature, s.timesteps_G, s.given_G, s.fps)
        for s, feature in zip(samples, features, strict=True)
    ]
    rows = pack(documents, dit.config)
    predicted = dit(rows)[~rows.is_text_N].float()
    order = table_order(documents)
    target = torch.cat([patchify(samples[i].velocity_GChw, dit.config.patch) for i in order])
    asked = ~rows.given_N[~rows.is_text_N]
    error: Tensor = (predicted - target)[asked].square().mean()
    return error
