"""The delivery of one job: frames of the model in, files out, on a thread of its own.

It resizes and encodes beside the engine's steps, or after them where there is little to do, and
touches nothing of torch. The engine hands it frames as they are final, and looks at `is_full`
before it makes more.
"""

import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from PIL import Image

from infra.catalog_models import Artifact, GenerationJob
from modeling.generation import Generation
from modeling.tasks import Request
from serving.admission import is_large
from serving.delivery import Frames, artifact, write_picture, write_video
from serving.previews import Preview
from serving.requests import Part, Sizes

log = logging.getLogger(__name__)

FULL_BYTES = 64 * 2**20
HELD_BYTES = 8 * 2**20
"""Frames that wait for the last one, so that an encoder does not take the cores from the steps: a
minute of small frames, and a few of large ones, which are made by GPUs."""
GIVES_WAY = 5
"""Steps of niceness: beside the engine a delivery has a quarter of the time."""


class Generates(Sizes, Protocol):
    """What the engine needs of a model; `modeling.generate.Generator` is one."""

    rows_per_call: int
    identity: str

    def begin(self, request: Request) -> Generation: ...
    def begin_large(self, request: Request, height: int, width: int) -> Generation: ...
    def advance(self, generations: Sequence[Generation]) -> None: ...
    def preview(self, generation: Generation) -> Frames | None: ...


class DeliveryStopped(Exception):  # noqa: N818 - an outcome, not an error
    """The engine wants no more of this job."""


def give_way() -> None:
    """Let the engine's steps come before what this thread, and those that it begins, compute.

    An encoder takes as many cores as there are. A step waits for the slowest of its threads, so one
    core that is shared for a moment costs all of them that moment. Linux alone has priorities for
    threads.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        nice = os.getpriority(os.PRIO_PROCESS, thread) + GIVES_WAY
        os.setpriority(os.PRIO_PROCESS, thread, min(nice, 19))


def begin(generator: Generates, job: GenerationJob, part: Part) -> Generation:
    """The generation of one part; a large picture of which nothing is given has two stages.

    Raises:
        InputError: the model cannot do what is asked.
    """
    request = part.request
    own = min(request.height, request.width) >= min(part.height, part.width)
    if is_large(job) and not own and not request.given and request.source is None:
        return generator.begin_large(request, part.height, part.width)
    return generator.begin(request)


class Delivery(threading.Thread):
    """Writes the files of a job's parts, in their order, into `folder`.

    `on_end` is called by its thread as its last act, with `error` set where it failed or stopped,
    `on_preview` with each preview that is shown.
    encode_s: seconds that it worked, waiting for frames left out. tail_s: of these, what was left
    to do when the last frame was made. written: delivered frames.
    """

    def __init__(
        self,
        job: GenerationJob,
        parts: Sequence[Part],
        folder: Path,
        attempt: int,
        on_end: Callable[[], None],
        on_preview: Callable[[Part, Preview], None],
    ) -> None:
        super().__init__(name=f"delivery-{job.id}", daemon=True)
        self._job, self._parts, self._folder, self._attempt = job, parts, folder, attempt
        self._on_end, self._on_preview = on_end, on_preview
        self._coming: queue.SimpleQueue[Frames | Preview | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._put_bytes = self._taken_bytes = 0
        self._waited_s = 0.0
        self.num_frames = sum(part.num_frames for part in parts)
        self.written = 0
        self.encode_s = self.tail_s = 0.0
        self._made_at = 0.0
        self.artifacts: list[Artifact] = []
        self.error: Exception | None = None

    @property
    def is_full(self) -> bool:
        """So much waits here that no more should be made."""
        return self._put_bytes - self._taken_bytes > FULL_BYTES

    def put(self, frames: Frames) -> None:
        """The next frames (K, H, W, 3) of the part under way."""
        self._put_bytes += frames.nbytes
        self._coming.put(frames)

    def show(self, preview: Preview) -> None:
        """A frame of what the part under way is coming to."""
        self._coming.put(preview)

    def close_part(self) -> None:
        """No more frames of this part; those that follow are the next one's."""
        self._made_at = time.perf_counter()
        self._coming.put(None)

    def stop(self) -> None:
        """Give up at the next frame."""
        self._stopped.set()
        self._coming.put(None)

    def run(self) -> None:
        give_way()
        try:
            for part in self._parts:
                begun, waited = time.perf_counter(), self._waited_s
                frames = self._frames(part)
                self.artifacts += self._part(part, frames)
                for _ in frames:  # that are not shown
                    pass
                self.encode_s += time.perf_counter() - begun - (self._waited_s - waited)
            self.tail_s = time.perf_counter() - self._made_at
        except Exception as error:
            self.error = error
        self._on_end()

    def _part(self, part: Part, made: Iterator[Frames]) -> list[Artifact]:
        if self._job.kind == "image":
            params = self._job.params
            path = self._folder / f"{part.name}-{self._attempt}.{params['output_format']}"
            picture = Image.fromarray(next(part.frames(made)))
            write_picture(picture, path, params["output_compression"])
            self.written += 1
            return [artifact(self._job.id, part.name, path)]
        shown = part.frames(made)
        paths = write_video(shown, part.fps, self._folder, self._attempt, self._on_frame)
        names = ("video", "thumbnail", "spritesheet")
        return [artifact(self._job.id, name, path) for name, path in zip(names, paths, strict=True)]

    def _on_frame(self, count: int) -> None:
        self.written = count
        self._check()

    def _frames(self, part: Part) -> Iterator[Frames]:
        """The model's frames one by one until the part is closed."""
        held: list[Frames] = []
        is_open = True
        while is_open:
            before = time.perf_counter()
            frames = self._coming.get()
            self._waited_s += time.perf_counter() - before
            self._check()
            if isinstance(frames, Preview):
                self._show(part, frames)
                continue
            is_open = frames is not None
            held += [] if frames is None else [frames]
            if is_open and sum(each.nbytes for each in held) < HELD_BYTES:
                continue
            for each in held:
                yield from each
                self._taken_bytes += each.nbytes
            held.clear()

    def _show(self, part: Part, preview: Preview) -> None:
        """Show a preview, unless something newer waits; a job does not fail for one."""
        if not preview.is_asked and not self._coming.empty():
            return
        try:
            self._on_preview(part, preview)
        except Exception:
            log.exception("%s: a preview is left out", self._job.id)

    def _check(self) -> None:
        if self._stopped.is_set():
            raise DeliveryStopped
