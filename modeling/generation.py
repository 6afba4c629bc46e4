"""A generation: one request on its way, step by step, its frames handed out as they are final.

generation = generator.begin(request)
while not generation.is_over:
    advance(dit, [generation.sampling()])
    for frames in generation.frames(): …
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from torch import Tensor

from modeling.sampler import SamplerRecipe, Sampling, Task
from modeling.tasks import Frames


class Stages(Protocol):
    """What is sampled one after the other: a `Rollout`'s windows, a `LargeImage`'s two sizes."""

    def task(self) -> Task | None:
        """What to sample next; None when all is done."""
        ...

    def take(self, latents_GChw: Tensor) -> Iterator[Frames]:
        """Take what was sampled; frames that are final now."""
        ...

    def shown(self, frame_HWC: Frames) -> Frames:
        """The part of a frame of what is being sampled that the result shows."""
        ...


class Generation:
    """Progress through the stages of one request.

    recipe_of: the sampler of the stage of that number.
    steps: of all stages. stage: how many are done.
    """

    def __init__(
        self, stages: Stages, recipe_of: Callable[[int], SamplerRecipe], *, steps: int, patch: int
    ) -> None:
        self._stages, self._recipe_of, self._patch = stages, recipe_of, patch
        self.steps, self.stage = steps, 0
        self._sampled = 0  # steps of the stages that are done
        self._sampling: Sampling | None = None

    @property
    def done(self) -> int:
        """Sampler steps made, of `steps`."""
        return self._sampled + (self._sampling.step if self._sampling else 0)

    @property
    def is_over(self) -> bool:
        """All was sampled, and its frames were handed out."""
        return self._sampled == self.steps

    @property
    def rows(self) -> int:
        """Rows that the next step takes in a call of the network."""
        return self.sampling().rows(self._patch)

    def sampling(self) -> Sampling:
        """The stage under way; the first call in a stage encodes what it is given."""
        if self._sampling is None:
            task = self._stages.task()
            assert task is not None, "a generation that is over has no step to make"
            self._sampling = Sampling(task, self._recipe_of(self.stage))
        return self._sampling

    def shown(self, frame_HWC: Frames) -> Frames:
        """The part of a frame of the stage under way that the result shows."""
        return self._stages.shown(frame_HWC)

    def frames(self) -> Iterator[Frames]:
        """Frames (K, H, W, 3) of the result that are final now, in its order."""
        if self._sampling is not None and self._sampling.done:
            yield from self.take(self._sampling.state_GChw)

    def take(self, latents_GChw: Tensor) -> Iterator[Frames]:
        """The frames that follow from this stage's latents; it is done then."""
        self._sampled += self._recipe_of(self.stage).steps
        self.stage += 1
        self._sampling = None
        yield from self._stages.take(latents_GChw)
