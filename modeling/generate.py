"""Generation: requests in, pixels out, at any length; one at a time, or many side by side."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from modeling.bundle import Bundle
from modeling.data import nearest_size, to_pixels
from modeling.rollout import Rollout
from modeling.sampler import SamplerRecipe, SamplingStopped, sample
from modeling.tasks import Frames, Request

WINDOWS_PER_CALL = 48


class GenerationCancelled(Exception):  # noqa: N818 - an outcome, not an error
    """`on_step` asked to stop."""


class Generator:
    """Makes videos from a bundle. Not thread-safe: one generation at a time."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.data = bundle.recipe.data
        self.fps = self.data.fps

    def native_size(self, width: int, height: int) -> tuple[int, int]:
        """(height, width) of the model's own frames for a wanted picture size."""
        return nearest_size(width, height, self.data)

    def num_frames(self, seconds: float) -> int:
        """Frames of a video of that duration, at least one."""
        return max(1, round(seconds * self.fps))

    def total_steps(self, request: Request) -> int:
        """Sampler steps that `generate` will take, windows and all."""
        return len(Rollout(self.bundle, request).windows) * self._sampler(request).steps

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
        rollout, recipe = Rollout(self.bundle, request), self._sampler(request)
        total = len(rollout.windows) * recipe.steps
        done = 0

        def step(_done: int, _steps: int) -> bool:
            nonlocal done
            done += 1
            return on_step is None or on_step(done, total)

        while (task := rollout.task()) is not None:
            try:
                (latents,) = sample(self.bundle.dit, [task], recipe, step)
            except SamplingStopped:
                raise GenerationCancelled from None
            yield from rollout.take(latents)

    def generate_many(self, requests: Sequence[Request]) -> list[Frames]:
        """What `generate` makes of each, their windows side by side in calls of the network."""
        videos: list[list[Frames]] = [[] for _ in requests]
        rollouts = [Rollout(self.bundle, request) for request in requests]
        while waiting := [
            (index, task)
            for index, rollout in enumerate(rollouts)
            if (task := rollout.task()) is not None
        ]:
            recipe = self._sampler(requests[waiting[0][0]])
            alike = [pair for pair in waiting if self._sampler(requests[pair[0]]) == recipe]
            alike = alike[:WINDOWS_PER_CALL]
            made = sample(self.bundle.dit, [task for _, task in alike], recipe)
            for (index, _), latents in zip(alike, made, strict=True):
                videos[index] += rollouts[index].take(latents)
        return [np.concatenate(video) for video in videos]

    def decoded_window(self, request: Request) -> Frames:
        """The first window as the VAE decodes it, given frames too: what conditioning came to."""
        task = Rollout(self.bundle, request).task()
        assert task is not None
        (latents,) = sample(self.bundle.dit, [task], self._sampler(request))
        return to_pixels(self.bundle.vae.decode(latents[None])[0])

    def _sampler(self, request: Request) -> SamplerRecipe:
        base = self.bundle.recipe.dit.sampler
        return replace(
            base,
            steps=request.steps or base.steps,
            guidance=request.guidance or base.guidance,
        )
