"""Generation: requests in, pixels out, at any length; one at a time, or many side by side."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from modeling.bundle import Bundle
from modeling.data import nearest_size, to_pixels
from modeling.generation import Generation
from modeling.large_image import LargeImage
from modeling.rollout import Rollout
from modeling.sampler import SamplerRecipe, Sampling, advance
from modeling.tasks import Frames, Request
from modeling.workload import packed_batch

WINDOWS_PER_CALL = 48


class GenerationCancelled(Exception):  # noqa: N818 - an outcome, not an error
    """`on_step` asked to stop."""


class Generator:
    """Makes videos from a bundle. Not thread-safe: one thread computes.

        under_way = [generator.begin(request), …]
        generator.advance(under_way)            # one step of each
        for frames in under_way[0].frames(): …  # that are final now

    rows_per_call: patches that one call of the network should have at most. It is what a batch in
        training had, which fitted into memory with all that a gradient takes.
    identity: a hash of the weights.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.data = bundle.recipe.data
        self.fps = self.data.fps
        self.rows_per_call = packed_batch(bundle.recipe).rows
        weights = json.dumps(bundle.manifest.get("sha256", {}), sort_keys=True)
        self.identity = hashlib.sha256(weights.encode()).hexdigest()
        self._patch = bundle.dit.config.patch

    def native_size(self, width: int, height: int) -> tuple[int, int]:
        """(height, width) of the model's own frames for a wanted picture size."""
        return nearest_size(width, height, self.data)

    def num_frames(self, seconds: float) -> int:
        """Frames of a video of that duration, at least one."""
        return max(1, round(seconds * self.fps))

    def begin(self, request: Request) -> Generation:
        """A generation of which nothing is computed yet.

        Raises:
            InputError: the model cannot do what is asked.
        """
        recipe = self._sampler(request)
        rollout = Rollout(self.bundle, request)
        steps = len(rollout.windows) * recipe.steps
        return Generation(rollout, lambda _: recipe, steps=steps, patch=self._patch)

    def begin_large(self, request: Request, height: int, width: int) -> Generation:
        """The same for a picture in two stages, see `modeling.large_image`.

        Raises:
            InputError: a side is too small or too large.
        """
        stages = LargeImage(
            self.bundle,
            request.prompt,
            height=height,
            width=width,
            seed=request.seed,
            negative_prompt=request.negative_prompt,
            steps=request.steps,
            guidance=request.guidance,
        )
        steps = stages.total_steps
        return Generation(stages, stages.recipe, steps=steps, patch=self._patch)

    def advance(self, generations: Sequence[Generation]) -> None:
        """One step of each, none of which is over, in one call of the network."""
        advance(self.bundle.dit, [each.sampling() for each in generations])

    @torch.no_grad()
    def preview(self, generation: Generation) -> Frames | None:
        """A frame (H, W, 3) of what the stage under way is coming to; None before its first step.

        It is from the middle of what is asked for, by the sampler's estimate of the clean latents,
        and costs the decoding of one latent frame. The generation goes on as if it had not been.
        """
        sampling = generation.sampling()
        latents_GChw = sampling.estimate()
        if latents_GChw is None:
            return None
        asked = (~sampling.task.given_Gyx).flatten(1).any(1).nonzero().flatten().tolist()
        frame_HWC = to_pixels(self.bundle.vae.still(latents_GChw, asked[len(asked) // 2]))
        return generation.shown(frame_HWC)

    def total_steps(self, request: Request) -> int:
        """Sampler steps that `generate` will take, windows and all."""
        return self.begin(request).steps

    def generate(
        self, request: Request, on_step: Callable[[int, int], bool] | None = None
    ) -> Frames:
        """The video, (num_frames, height, width, 3); given pixels are in it as they were given.

        `on_step(done, total)` is called after each sampler step, all windows counted.

        Raises:
            GenerationCancelled: `on_step` returned False.
            InputError: the model cannot do what is asked.
        """
        return np.concatenate(list(self.stream(request, on_step)))

    def stream(
        self, request: Request, on_step: Callable[[int, int], bool] | None = None
    ) -> Iterator[Frames]:
        """The same video in pieces, each as soon as it is final: memory hardly grows with length.

        Raises:
            GenerationCancelled: `on_step` returned False.
            InputError: the model cannot do what is asked.
        """
        generation = self.begin(request)
        while not generation.is_over:
            self.advance([generation])
            if on_step is not None and not on_step(generation.done, generation.steps):
                raise GenerationCancelled
            yield from generation.frames()

    def generate_many(self, requests: Sequence[Request]) -> list[Frames]:
        """What `generate` makes of each, their windows side by side in calls of the network."""
        videos: list[list[Frames]] = [[] for _ in requests]
        generations = [self.begin(request) for request in requests]
        pairs = list(zip(generations, videos, strict=True))
        while waiting := [pair for pair in pairs if not pair[0].is_over][:WINDOWS_PER_CALL]:
            self.advance([generation for generation, _ in waiting])
            for generation, video in waiting:
                video += generation.frames()
        return [np.concatenate(video) for video in videos]

    def decoded_windows(self, requests: Sequence[Request]) -> list[Frames]:
        """The first window of each as the VAE decodes it, given frames too: what conditioning came
        to. They are made side by side."""
        tasks = [Rollout(self.bundle, request).task() for request in requests]
        samplings = [
            Sampling(task, self._sampler(request))
            for task, request in zip(tasks, requests, strict=True)
            if task is not None
        ]
        while waiting := [one for one in samplings if not one.done][:WINDOWS_PER_CALL]:
            advance(self.bundle.dit, waiting)
        decoded = (self.bundle.vae.decode(one.state_GChw[None])[0] for one in samplings)
        with torch.no_grad():
            return [to_pixels(video) for video in decoded]

    def _sampler(self, request: Request) -> SamplerRecipe:
        base = self.bundle.recipe.dit.sampler
        return replace(
            base,
            steps=request.steps or base.steps,
            guidance=request.guidance or base.guidance,
        )
