"""One job, rendered: the request to the model, and the files that come of it."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from infra.catalog_models import Artifact, GenerationJob
from infra.video import read_file_frames
from modeling import tasks
from modeling.generate import GenerationCancelled
from modeling.tasks import Request
from serving.delivery import (
    CONTEXT_S,
    Frames,
    artifact,
    context,
    continuation,
    resized,
    shown_at,
    write_picture,
    write_video,
)
from serving.fields import parse_size

SAMPLED = 90  # percent of progress when sampling ends and encoding begins

Report = Callable[[float, str], bool]


class Generates(Protocol):
    """What rendering needs of a model; `modeling.generate.Generator` is one."""

    fps: float

    def native_size(self, width: int, height: int) -> tuple[int, int]: ...
    def num_frames(self, seconds: float) -> int: ...
    def total_steps(self, request: Request) -> int: ...
    def generate(
        self, request: Request, on_step: Callable[[int, int], bool] | None = None
    ) -> Frames: ...


@dataclass
class Rendered:
    """The files of a job, and the seconds that sampling and encoding took."""

    artifacts: list[Artifact]
    sample_s: float
    encode_s: float


def render(
    generator: Generates, job: GenerationJob, folder: Path, attempt: int, report: Report
) -> Rendered:
    """Generate and write the files of `job` into `folder`.

    `report(percent, stage)` is called at every step and frame and stops the work by returning
    False.

    Raises:
        GenerationCancelled: `report` said to stop.
        InputError: the model cannot do what is asked.
    """
    work = _Work(generator, job, folder, attempt, report)
    if job.kind == "image":
        return work.images()
    if job.kind == "extension":
        return work.extension()
    return work.video()


class _Work:
    def __init__(
        self, generator: Generates, job: GenerationJob, folder: Path, attempt: int, report: Report
    ) -> None:
        self._generator, self._job, self._folder = generator, job, folder
        self._attempt, self._report = attempt, report
        self._width, self._height = parse_size(job.size, even=False)
        self._sample_s = 0.0

    def video(self) -> Rendered:
        """Text, or a picture and text, to a video."""
        job, fps = self._job, self._generator.fps
        request = self._request(self._generator.num_frames(job.seconds))
        if name := job.params.get("input"):
            with Image.open(self._folder / name) as picture:
                request = tasks.image_to_video(request, np.asarray(picture))
        frames = self._sample(request)
        fps_out = job.params.get("fps") or fps
        num_out = max(1, round(job.seconds * fps_out))
        shown = (frames[i] for i in shown_at(len(frames), fps, num_out, fps_out))
        return self._deliver(shown, num_out, fps_out)

    def extension(self) -> Rendered:
        """A given video plus new seconds after it (or before it), joined.

        The given part is delivered as it was given; the model sees its last (first) second.
        """
        params, fps = self._job.params, self._generator.fps
        known = params["given"]
        head = params["direction"] == "backward"
        given, _ = read_file_frames(
            self._folder / params["input"], max_frames=known["end"] - known["start"]
        )
        seen = context(given, known["fps"], fps, self._generator.num_frames(CONTEXT_S), head=head)
        num_frames = self._generator.num_frames(len(seen) / fps + params["seconds"])
        request = tasks.extend(self._request(num_frames), seen, params["direction"])
        frames = self._sample(request)
        new = frames[: -len(seen)] if head else frames[len(seen) :]
        num_new = max(1, round(params["seconds"] * known["fps"]))
        added = continuation(new, fps, num_new, known["fps"], head=head)
        joined = (*added, *given) if head else (*given, *added)
        return self._deliver(joined, len(joined), known["fps"])

    def images(self) -> Rendered:
        """n pictures, each from its own seed."""
        params = self._job.params
        encode_s = 0.0
        artifacts = []
        for index in range(params["n"]):
            request = self._request(1, seed=params["seed"] + index)
            frames = self._sample(request, part=(index, params["n"]))
            before = time.perf_counter()
            frame = next(resized(frames[:1], self._width, self._height))
            path = self._folder / f"image{index}-{self._attempt}.{params['output_format']}"
            write_picture(Image.fromarray(frame), path, params["output_compression"])
            artifacts.append(artifact(self._job.id, f"image{index}", path))
            encode_s += time.perf_counter() - before
        return Rendered(artifacts, self._sample_s, encode_s)

    def _request(self, num_frames: int, *, seed: int | None = None) -> Request:
        params = self._job.params
        height, width = self._generator.native_size(self._width, self._height)
        return Request(
            prompt=self._job.prompt,
            num_frames=num_frames,
            height=height,
            width=width,
            seed=params["seed"] if seed is None else seed,
            steps=params["steps"],
            guidance=params["guidance"],
            negative_prompt=params["negative_prompt"],
        )

    def _sample(self, request: Request, part: tuple[int, int] = (0, 1)) -> Frames:
        def on_step(step: int, total: int) -> bool:
            done = (part[0] + step / max(total, 1)) / part[1]
            return self._report(SAMPLED * done, "sampling")

        before = time.perf_counter()
        frames = self._generator.generate(request, on_step)
        self._sample_s += time.perf_counter() - before
        return frames

    def _deliver(self, frames: Iterable[Frames], count: int, fps: float) -> Rendered:
        def on_frame(done: int) -> None:
            if not self._report(SAMPLED + (99 - SAMPLED) * done / count, "encoding"):
                raise GenerationCancelled

        before = time.perf_counter()
        sized = resized(frames, self._width, self._height)
        paths = write_video(sized, fps, self._folder, self._attempt, on_frame)
        artifacts = [
            artifact(self._job.id, name, path)
            for name, path in zip(("video", "thumbnail", "spritesheet"), paths, strict=True)
        ]
        return Rendered(artifacts, self._sample_s, time.perf_counter() - before)
