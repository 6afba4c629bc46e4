"""One job, rendered: the request to the model, and the files that come of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from infra.catalog_models import Artifact, GenerationJob
from modeling.generate import GenerationCancelled
from modeling.tasks import Request
from serving.delivery import Frames, artifact, write_picture, write_video
from serving.requests import Part, Sizes, plan

SAMPLED = 90  # percent of progress when sampling ends and encoding begins

Report = Callable[[float, str], bool]


class Generates(Sizes, Protocol):
    """What rendering needs of a model; `modeling.generate.Generator` is one."""

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
    rendered = Rendered([], 0.0, 0.0)
    parts = plan(generator, job, folder)
    for index, part in enumerate(parts):
        before = time.perf_counter()
        made = generator.generate(part.request, _on_step(report, index, len(parts)))
        sampled = time.perf_counter()
        if job.kind == "image":
            rendered.artifacts += _picture(job, part, made, folder, attempt)
        else:
            rendered.artifacts += _video(job, part, made, folder, attempt, report)
        rendered.sample_s += sampled - before
        rendered.encode_s += time.perf_counter() - sampled
    return rendered


def _on_step(report: Report, index: int, count: int) -> Callable[[int, int], bool]:
    """Progress of one of `count` parts."""
    return lambda step, total: report(SAMPLED * (index + step / max(total, 1)) / count, "sampling")


def _picture(
    job: GenerationJob, part: Part, made: Frames, folder: Path, attempt: int
) -> list[Artifact]:
    path = folder / f"{part.name}-{attempt}.{job.params['output_format']}"
    picture = Image.fromarray(next(part.frames(made)))
    write_picture(picture, path, job.params["output_compression"])
    return [artifact(job.id, part.name, path)]


def _video(
    job: GenerationJob, part: Part, made: Frames, folder: Path, attempt: int, report: Report
) -> list[Artifact]:
    def on_frame(done: int) -> None:
        if not report(SAMPLED + (99 - SAMPLED) * done / part.num_frames, "encoding"):
            raise GenerationCancelled

    paths = write_video(part.frames(made), part.fps, folder, attempt, on_frame)
    return [
        artifact(job.id, name, path)
        for name, path in zip(("video", "thumbnail", "spritesheet"), paths, strict=True)
    ]
