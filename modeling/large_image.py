"""Large single frames in two stages, with bounded memory.

    image = large_image(bundle, "a red ball", height=2048, width=2048, seed=1)

First the model makes the picture at a size of its own. It is enlarged, noise is put on its latents
up to t0, and the model refines them at the full size (SDEdit, Meng et al., 2022; LTX-2's second
stage, HaCohen et al., 2025). Attention is over all patches, but never as a matrix in memory, and
the VAE decodes tile by tile.

This *runs* with any bundle. It is *trained* only for sizes that the model saw: beyond these the
second stage keeps the first one's picture and adds what detail the model happens to know.

Shapes: C channels, h w latent positions, L text tokens.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from infra.errors import InputError
from modeling.bundle import Bundle
from modeling.data import nearest_size, to_pixels
from modeling.sampler import SamplerRecipe, Task, sample
from modeling.tiling import Tiling

Pixels = npt.NDArray[np.uint8]
OnStep = Callable[[int, int], bool]


class LargeImage:
    """The two stages of one picture, with the interface of a `Rollout`.

    steps, guidance: of the first stage; 0 takes the recipe's.

    Raises:
        InputError: a side is too small or too large; the message names the limits.
    """

    def __init__(
        self,
        bundle: Bundle,
        prompt: str,
        *,
        height: int,
        width: int,
        seed: int,
        negative_prompt: str = "",
        steps: int = 0,
        guidance: float = 0.0,
    ) -> None:
        recipe, step = bundle.recipe.large_image, bundle.recipe.data.side_multiple
        if min(height, width) < step or max(height, width) > recipe.max_side:
            raise InputError(
                f"a picture of {width}x{height} cannot be made: "
                f"sides have to be between {step} and {recipe.max_side} pixels"
            )
        self._bundle, self._height, self._width = bundle, height, width
        # On the model's grid; what is too much at the right and below is cut off in the end.
        self._grid = -(-height // step) * step, -(-width // step) * step
        self._first = _first_stage(bundle, prompt, negative_prompt, height, width, seed)
        sampler = bundle.recipe.dit.sampler
        self._sampler = replace(
            sampler, steps=steps or sampler.steps, guidance=guidance or sampler.guidance
        )
        self._latents: Tensor | None = None  # of the first stage
        self._is_over = False
        self.total_steps = self._sampler.steps + recipe.steps

    def recipe(self, stage: int) -> SamplerRecipe:
        """The sampler of the first stage, 0, or the second."""
        return self._sampler if stage == 0 else refining(self._bundle, *self._grid)

    def task(self) -> Task | None:
        """What to sample next; None when both stages are done."""
        if self._is_over:
            return None
        if self._latents is None:
            return self._first
        large = enlarged(self._bundle, self._latents, *self._grid)
        start = self._bundle.recipe.large_image.start
        return replace(self._first, latents_GChw=large, seed=self._first.seed + 1, start=start)

    @torch.no_grad()
    def take(self, latents_1Chw: Tensor) -> Iterator[Pixels]:
        """The picture as a video of one frame, (1, height, width, 3), after the second stage."""
        if self._latents is None:
            self._latents = latents_1Chw
            return
        self._is_over = True
        picture = self._bundle.vae.decode(latents_1Chw[None], tiling=Tiling())[0]
        pixels: Pixels = to_pixels(picture)
        yield pixels[:, : self._height, : self._width]

    def shown(self, frame_HWC: Pixels) -> Pixels:
        """The second stage's frame without what is cut off; the first one's is of its own size."""
        return frame_HWC if self._latents is None else frame_HWC[: self._height, : self._width]


def large_image(
    bundle: Bundle,
    prompt: str,
    *,
    height: int,
    width: int,
    seed: int,
    negative_prompt: str = "",
    on_step: OnStep | None = None,
) -> Pixels:
    """A picture of any size up to the recipe's `max_side`, (height, width, 3).

    `on_step(done, total)` is called after each call of the network in both stages.

    Raises:
        InputError: a side is too small or too large; the message names the limits.
        SamplingStopped: `on_step` returned False.
    """
    sides = {"height": height, "width": width}
    stages = LargeImage(bundle, prompt, **sides, seed=seed, negative_prompt=negative_prompt)
    counted = _Counted(on_step, stages.total_steps)
    pictures: list[Pixels] = []
    for stage in (0, 1):
        task = stages.task()
        assert task is not None
        (latents,) = sample(bundle.dit, [task], stages.recipe(stage), counted)
        pictures += stages.take(latents)
    picture: Pixels = pictures[0][0]
    return picture


@torch.no_grad()
def enlarged(bundle: Bundle, latents_1Chw: Tensor, height: int, width: int) -> Tensor:
    """Latents of the same picture at (height, width) pixels, by way of its pixels.

    Enlarging the latents themselves repeats what a position says of the edge inside its own 8 x 8
    pixels.
    """
    small_1HWC = bundle.vae.decode(latents_1Chw[None])[0]
    small_1CHW = small_1HWC.movedim(-1, 1)
    factor = max(height / small_1CHW.shape[2], width / small_1CHW.shape[3])
    sides = [max(math.ceil(side * factor), 1) for side in small_1CHW.shape[2:]]
    large = F.interpolate(small_1CHW, size=sides, mode="bicubic", antialias=False).clamp(-1, 1)
    top, left = (sides[0] - height) // 2, (sides[1] - width) // 2
    large = large[:, :, top : top + height, left : left + width]
    return bundle.vae.encode(large.movedim(1, -1)[None], tiling=Tiling())[0]


def refining(bundle: Bundle, height: int, width: int) -> SamplerRecipe:
    """The second stage's sampler at (height, width) pixels.

    Larger grids need more noise to lose what is coarse, so the schedule is shifted by the root of
    the number of tokens (Esser et al., 2024).
    """
    recipe, sampler = bundle.recipe.large_image, bundle.recipe.dit.sampler
    native = bundle.recipe.data.max_area / bundle.recipe.data.side_multiple**2
    tokens = height * width / (bundle.vae.spatial * bundle.dit.config.patch) ** 2
    shift = sampler.shift * max(1.0, (tokens / native) ** 0.5)
    return replace(sampler, steps=recipe.steps, guidance=recipe.guidance, shift=shift)


def _first_stage(
    bundle: Bundle, prompt: str, negative_prompt: str, height: int, width: int, seed: int
) -> Task:
    native_height, native_width = nearest_size(width, height, bundle.recipe.data)
    spatial = bundle.vae.spatial
    shape = (1, bundle.vae.latent_channels, native_height // spatial, native_width // spatial)
    text, negative = (
        bundle.features(bundle.tokenizer.encode(words)) for words in (prompt, negative_prompt)
    )
    given = torch.zeros(1, 1, 1, dtype=torch.bool)
    empty = torch.zeros(shape, device=bundle.device)
    return Task(empty, given, text, negative, bundle.recipe.data.fps, seed)


class _Counted:
    """Passes on the steps of both stages as one count."""

    def __init__(self, on_step: OnStep | None, total: int) -> None:
        self.on_step, self.total, self.before = on_step, total, 0

    def __call__(self, done: int, steps: int) -> bool:
        made = self.before + done
        if done == steps:
            self.before = made
        return self.on_step is None or self.on_step(made, self.total)
