"""A job as requests to the model, and how what the model makes becomes what is delivered.

for part in plan(generator, job, folder):
    made = generator.generate(part.request)
    for frame in part.frames(made): …  # at the delivered size and rate, what was given in place
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infra.catalog_models import GenerationJob
from infra.video import read_file_frames
from modeling import tasks
from modeling.tasks import Request
from serving.delivery import CONTEXT_S, Frames, context, continuation, resized, shown_at
from serving.fields import parse_size


class Sizes(Protocol):
    """What planning asks of a model; `modeling.generate.Generator` is one."""

    fps: float

    def native_size(self, width: int, height: int) -> tuple[int, int]: ...
    def num_frames(self, seconds: float) -> int: ...


@dataclass(frozen=True)
class Kept:
    """Frames (T, H, W, 3) of any size that are delivered as they were given."""

    frames: Frames

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True)
class Made:
    """The model's frames that are shown, by index; never backward, so a stream of them will do."""

    indices: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.indices)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One request to the model and its deliverable: a video, or a picture of one frame.

    name: the artifact's: "video", or "image0" and so on.
    width, height, fps: as delivered.
    pieces: what is shown, one after the other.
    """

    name: str
    request: Request
    width: int
    height: int
    fps: float
    pieces: tuple[Kept | Made, ...]

    @property
    def num_frames(self) -> int:
        """How many frames are delivered."""
        return sum(len(piece) for piece in self.pieces)

    def frames(self, made: Iterable[Frames]) -> Iterator[Frames]:
        """The delivered frames (height, width, 3) from the model's, of which one is held."""
        source, at, shown = iter(made), -1, np.empty(0, np.uint8)
        for piece in self.pieces:
            if isinstance(piece, Kept):
                yield from resized(piece.frames, self.width, self.height)
                continue
            for index in piece.indices:
                if at < index:
                    frame = next(islice(source, int(index) - at - 1, None))
                    at, shown = int(index), next(resized([frame], self.width, self.height))
                yield shown


def plan(generator: Sizes, job: GenerationJob, folder: Path) -> list[Part]:
    """The parts of `job`, whose inputs are in `folder`; a video has one, images one each.

    Raises:
        InputError: the model cannot do what is asked.
    """
    planner = _Planner(generator, job, folder)
    if job.kind == "image":
        return planner.images()
    if job.kind == "extension":
        return [planner.extension()]
    return [planner.video()]


class _Planner:
    def __init__(self, generator: Sizes, job: GenerationJob, folder: Path) -> None:
        self._generator, self._job, self._folder = generator, job, folder
        self._params: dict[str, Any] = job.params
        self._width, self._height = parse_size(job.size, even=False)

    def video(self) -> Part:
        """Text, or a picture and text, to a video."""
        job, fps = self._job, self._generator.fps
        request = self._request(self._generator.num_frames(job.seconds))
        if name := self._params.get("input"):
            with Image.open(self._folder / name) as picture:
                request = tasks.image_to_video(request, np.asarray(picture))
        fps_out = self._params.get("fps") or fps
        num_out = max(1, round(job.seconds * fps_out))
        return self._part(
            request, fps_out, Made(shown_at(request.num_frames, fps, num_out, fps_out))
        )

    def extension(self) -> Part:
        """A given video plus new seconds after it (or before it), joined.

        The given part is delivered as it was given; the model sees its last (first) second.
        """
        params, fps = self._params, self._generator.fps
        known = params["given"]
        head = params["direction"] == "backward"
        given, _ = read_file_frames(
            self._folder / params["input"], max_frames=known["end"] - known["start"]
        )
        seen = context(given, known["fps"], fps, self._generator.num_frames(CONTEXT_S), head=head)
        num_frames = self._generator.num_frames(len(seen) / fps + params["seconds"])
        request = tasks.extend(self._request(num_frames), seen, params["direction"])
        num_new = max(1, round(params["seconds"] * known["fps"]))
        new = continuation(num_frames - len(seen), fps, num_new, known["fps"], head=head)
        if head:
            return self._part(request, known["fps"], Made(new), Kept(given))
        return self._part(request, known["fps"], Kept(given), Made(len(seen) + new))

    def images(self) -> list[Part]:
        """n pictures, each from its own seed."""
        seed, first = self._params["seed"], Made(np.zeros(1, np.intp))
        return [
            self._part(self._request(1, seed + n), self._generator.fps, first, name=f"image{n}")
            for n in range(self._params["n"])
        ]

    def _request(self, num_frames: int, seed: int | None = None) -> Request:
        params = self._params
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

    def _part(
        self, request: Request, fps: float, *pieces: Kept | Made, name: str = "video"
    ) -> Part:
        return Part(
            name=name,
            request=request,
            width=self._width,
            height=self._height,
            fps=fps,
            pieces=pieces,
        )
