"""What is trained on: made-up latents, since a step's time does not depend on what they show."""

from collections.abc import Sequence

import torch

from modeling.noise import NoiseRecipe, sample_given, sample_timesteps
from modeling.train_dit import Sample, noised
from modeling.trainer import rng
from tests.benchmarks.model.peers import PATCH

CHANNELS, VOCABULARY, FPS = 8, 300, 8.0
UNIFORM = (4, 6, 8)  # latent frames, height, width: 13 frames of 48 x 64, as the demo's
DURATIONS = (1, 2, 3, 4, 6, 8)
SIZES = ((4, 4), (4, 6), (6, 4), (6, 6), (6, 8), (8, 6), (8, 8), (8, 12), (12, 8))
WORDS = (5, 16)

Shape = tuple[int, int, int]


def make(shape: Shape, seed: int) -> Sample:
    """A document with 5 to 15 words and the default pattern of what is given."""
    generator = rng(3, seed)
    frames, height, width = shape
    latents = torch.randn(frames, CHANNELS, height, width, generator=generator)
    recipe = NoiseRecipe()
    given = sample_given((frames, height // PATCH, width // PATCH), recipe, generator)
    times = sample_timesteps(given, recipe, generator)
    words = int(torch.randint(*WORDS, (), generator=generator))
    tokens = torch.randint(1, VOCABULARY, (words,), generator=generator).tolist()
    return noised(latents, given, times, tokens, FPS, generator)


def uniform(count: int) -> list[Sample]:
    return [make(UNIFORM, seed) for seed in range(count)]


def mixed(count: int) -> list[Sample]:
    """Durations and sizes drawn evenly: images of 4 patches to clips of 192."""
    generator, samples = rng(5, 0), []
    for seed in range(count):
        duration, size = (
            values[int(torch.randint(len(values), (), generator=generator))]
            for values in (DURATIONS, SIZES)
        )
        samples.append(make((duration, *size), seed))
    return samples


def tokens(samples: Sequence[Sample]) -> int:
    """Latent patches, without words and without padding."""
    return sum(s.noisy_GChw[:, 0].numel() // PATCH**2 for s in samples)
