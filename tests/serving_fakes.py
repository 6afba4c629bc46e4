"""A stand-in for the model: its interface, and pictures that tell which seed and frame they are."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from modeling.generation import Generation
from modeling.sampler import SamplerRecipe, Task
from modeling.tasks import Request
from serving.engine import Engine

FPS = 8.0
STEPS = 5
LEVEL = 10  # grey of a preview, for each step made


class FakeGenerator:
    """Frames of one grey level by index, tinted by the seed; whole given frames come back.

    `gate`, when set, holds every generation before its second step until it is opened.
    `calls` has, for each call of the network, the seeds of those in it.
    """

    fps = FPS
    rows_per_call = 10_000
    identity = "fake"

    def __init__(self, step_s: float = 0.0) -> None:
        self.step_s = step_s
        self.requests: list[Request] = []
        self.calls: list[list[int]] = []
        self.steps_taken = self.previews = 0
        self.gate: threading.Event | None = None
        self.error: Exception | None = None

    def native_size(self, width: int, height: int) -> tuple[int, int]:
        return (32, 48) if width > height else (48, 32)

    def num_frames(self, seconds: float) -> int:
        return max(1, round(seconds * FPS))

    def begin(self, request: Request) -> Generation:
        self.requests.append(request)
        recipe = SamplerRecipe(steps=request.steps or STEPS)
        return Generation(FakeStages(request), lambda _: recipe, steps=recipe.steps, patch=1)

    def begin_large(self, request: Request, height: int, width: int) -> Generation:
        return self.begin(replace(request, height=height, width=width))

    def advance(self, generations: Sequence[Generation]) -> None:
        if self.error is not None:
            raise self.error
        if self.gate is not None and not self.gate.is_set():
            generations = [each for each in generations if each.done == 0]
            if not generations:
                self.gate.wait(0.02)
                return
        time.sleep(self.step_s)
        self.calls.append([each.sampling().task.seed for each in generations])
        for each in generations:
            self.steps_taken += 1
            each.sampling().move(torch.zeros(1))

    def preview(self, generation: Generation) -> NDArray[np.uint8] | None:
        self.previews += 1
        return np.full((32, 48, 3), min(LEVEL * generation.done, 255), np.uint8)


class FakeStages:
    """One stage, and the frames of the request after it."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def task(self) -> Task:
        nothing, given = torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, dtype=torch.bool)
        words = torch.zeros(1, 1)
        return Task(nothing, given, words, words, FPS, self._request.seed)

    def shown(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return frame

    def take(self, _latents: torch.Tensor) -> Iterator[NDArray[np.uint8]]:
        request = self._request
        levels = np.linspace(20, 220, request.num_frames).astype(np.uint8)
        shape = (request.num_frames, request.height, request.width, 3)
        frames = np.broadcast_to(levels[:, None, None, None], shape).copy()
        frames[..., 0] = request.seed % 200
        for given in filter(lambda given: given.whole, request.given):
            part = slice(given.start, given.end)
            frames[part] = given.frames.mean(axis=(1, 2), keepdims=True)
        yield frames


class LocalEngine:
    """The API's link to an engine of the same process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def notify(self) -> None:
        self._engine.notify()

    def dropped(self, job_id: str) -> None:
        self._engine.dropped(job_id)

    async def ended(self, job_id: str, within_s: float, *, follows: bool = False) -> None:
        await self._engine.ended(job_id, within_s, follows=follows)

    async def health(self) -> dict[str, Any]:
        return self._engine.health()
