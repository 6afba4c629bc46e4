"""A stand-in for the model: its interface, and pictures that tell which seed and frame they are."""

import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modeling.generate import GenerationCancelled
from modeling.tasks import Request
from serving.engine import Engine

FPS = 8.0
STEPS = 5


class FakeGenerator:
    """Frames of one grey level by index, tinted by the seed; whole given frames come back.

    `gate`, when set, holds every generation at its second step until it is opened.
    """

    fps = FPS

    def __init__(self, step_s: float = 0.0) -> None:
        self.step_s = step_s
        self.requests: list[Request] = []
        self.steps_taken = 0
        self.gate: threading.Event | None = None
        self.error: Exception | None = None

    def native_size(self, width: int, height: int) -> tuple[int, int]:
        return (32, 48) if width > height else (48, 32)

    def num_frames(self, seconds: float) -> int:
        return max(1, round(seconds * FPS))

    def total_steps(self, request: Request) -> int:
        return request.steps or STEPS

    def generate(self, request: Request, on_step=None) -> NDArray[np.uint8]:
        self.requests.append(request)
        total = self.total_steps(request)
        for step in range(1, total + 1):
            if self.error is not None:
                raise self.error
            while self.gate is not None and step > 1 and not self.gate.wait(0.02):
                if on_step is not None and not on_step(step - 1, total):
                    raise GenerationCancelled
            time.sleep(self.step_s)
            self.steps_taken += 1
            if on_step is not None and not on_step(step, total):
                raise GenerationCancelled
        return self._frames(request)

    def _frames(self, request: Request) -> NDArray[np.uint8]:
        levels = np.linspace(20, 220, request.num_frames).astype(np.uint8)
        shape = (request.num_frames, request.height, request.width, 3)
        frames = np.broadcast_to(levels[:, None, None, None], shape).copy()
        frames[..., 0] = request.seed % 200
        for given in filter(lambda given: given.whole, request.given):
            part = slice(given.start, given.end)
            frames[part] = given.frames.mean(axis=(1, 2), keepdims=True)
        return frames


class LocalEngine:
    """The API's link to an engine of the same process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def notify(self) -> None:
        self._engine.notify()

    def dropped(self, job_id: str) -> None:
        self._engine.dropped(job_id)

    async def ended(self, job_id: str, within_s: float) -> None:
        await self._engine.ended(job_id, within_s)

    async def health(self) -> dict[str, Any]:
        return self._engine.health()
