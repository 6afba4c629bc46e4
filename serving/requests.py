"""A job as requests to the model, and how what the model makes becomes what is delivered.

for part in plan(generator, job, folder):
    made = generator.generate(part.request)
    for frame in part.frames(made): …  # at the delivered size and rate, what was given in place
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from infra.catalog_models import GenerationJob
from infra.video import read_file_frames
from modeling import tasks
from modeling.tasks import Given, Request
from serving.delivery import CONTEXT_S, Frames, context, continuation, shown_at
from serving.fields import parse_size
from serving.parts import Kept, Made, Over, Part, Piece, scaled, scaled_mask
from serving.placement import edited_span, loop_frames, mark, place

__all__ = ["Part", "Sizes", "plan"]


class Sizes(Protocol):
    """What planning asks of a model; `modeling.generate.Generator` is one."""

    fps: float

    def native_size(self, width: int, height: int) -> tuple[int, int]: ...
    def num_frames(self, seconds: float) -> int: ...


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
    if job.kind == "edit":
        return [planner.edit()]
    return [planner.video()]


class _Planner:
    def __init__(self, generator: Sizes, job: GenerationJob, folder: Path) -> None:
        self._generator, self._job, self._folder = generator, job, folder
        self._params: dict[str, Any] = job.params
        self._width, self._height = parse_size(job.size, even=False)
        self._native = generator.native_size(self._width, self._height)
        self._fps = generator.fps

    def video(self) -> Part:
        """Text, or text and pictures and clips at their moments, to a video."""
        job, params = self._job, self._params
        looped = bool(params.get("loop"))
        num_frames = self._generator.num_frames(job.seconds)
        num_frames = loop_frames(num_frames) if looped else num_frames
        fps_out = params.get("fps") or self._fps
        num_out = max(1, round(job.seconds * fps_out))
        # A loop has to keep its end, so it is shown a little faster or slower.
        rate = num_frames / job.seconds if looped else self._fps
        pieces: list[Piece] = [Made(shown_at(num_frames, rate, num_out, fps_out))]
        keyframes = [{"file": params["input"], "at": 0.0}] if params.get("input") else []
        keyframes += params.get("keyframes") or []
        marks = [mark(keyframe, num_frames, self._fps) for keyframe in keyframes]
        spots, total = place(marks, num_frames, loop=looped)
        given = []
        for keyframe, wanted, spot in zip(keyframes, marks, spots, strict=True):
            frames = self._frames(keyframe)
            index = shown_at(len(frames), len(frames) / wanted.count, wanted.count, 1.0)
            seen = self._seen(frames[index])
            held = seen[-1:].repeat(spot.count - wanted.count, axis=0)
            given.append(Given(np.concatenate([seen, held]), spot.start))
            if "num_frames" in keyframe:
                pieces = _kept(pieces, frames, keyframe, num_out, fps_out)
        request = replace(self._request(total), given=tuple(given), loop=looped)
        return self._part(request, fps_out, *pieces)

    def _frames(self, entry: dict[str, Any]) -> Frames:
        """A given clip's frames, or a picture as a clip of one."""
        path = self._folder / entry["file"]
        if "num_frames" in entry:
            return read_file_frames(path, max_frames=entry["num_frames"])[0]
        with Image.open(path) as picture:
            return np.asarray(picture)[None]

    def _seen(self, frames: Frames, box: tasks.Box | None = None) -> Frames:
        """Given frames as the model sees them: all of its frame, or a box of it."""
        rows, columns = slice(0, self._native[0]), slice(0, self._native[1])
        aspect = self._width / self._height
        if box is not None:
            rows, columns = tasks.pixels(box, *self._native)
            aspect *= box.width / box.height
        size = rows.stop - rows.start, columns.stop - columns.start
        return np.stack([scaled(frame, *size, aspect) for frame in frames])

    def extension(self) -> Part:
        """A given video plus new seconds after it (or before it), joined.

        The given part is delivered as it was given; the model sees its last (first) second.
        """
        params, fps = self._params, self._fps
        known = params["given"]
        head = params["direction"] == "backward"
        given, _ = read_file_frames(
            self._folder / params["input"], max_frames=known["end"] - known["start"]
        )
        seen = context(given, known["fps"], fps, self._generator.num_frames(CONTEXT_S), head=head)
        num_frames = self._generator.num_frames(len(seen) / fps + params["seconds"])
        request = self._request(num_frames)
        request = tasks.extend(request, self._seen(seen), params["direction"])
        num_new = max(1, round(params["seconds"] * known["fps"]))
        new = continuation(num_frames - len(seen), fps, num_new, known["fps"], head=head)
        if head:
            return self._part(request, known["fps"], Made(new), Kept(given))
        return self._part(request, known["fps"], Kept(given), Made(len(seen) + new))

    def edit(self) -> Part:
        """A given video made anew, in whole or in part; see `serving.edit_fields.EditFields`."""
        params, clip = self._params, self._params["clip"]
        frames = self._frames(clip)
        num_frames = self._generator.num_frames(len(frames) / clip["fps"])
        indices = shown_at(len(frames), clip["fps"], num_frames, self._fps)
        span = edited_span(clip, params["start"], params["end"], num_frames, self._fps)
        request, over = self._request(num_frames), None
        if (span.low, span.high) != (0, num_frames):
            request = tasks.infill(
                request, self._seen(frames[indices]), start=span.low, end=span.high
            )
        if params["box"]:
            box, outside = tasks.Box(**params["box"]), params["outside"]
            part = replace(request, num_frames=span.high - span.low, given=())
            seen = self._seen(frames[indices[span.low : span.high]], box if outside else None)
            (given,) = (tasks.outpaint if outside else tasks.inpaint)(part, seen, box).given
            request = replace(request, given=(*request.given, replace(given, start=span.low)))
            kept = frames[span.first : span.last]
            over = Over.of_box(kept, box, outside, self._height, self._width)
        if params["strength"]:
            request = tasks.video_to_video(request, self._seen(frames[indices]), params["strength"])
        shown = shown_at(num_frames, self._fps, len(frames), clip["fps"])
        pieces = (
            Kept(frames[: span.first]),
            Made(shown[span.first : span.last], over),
            Kept(frames[span.last :]),
        )
        return self._part(request, clip["fps"], *pieces)

    def images(self) -> list[Part]:
        """n pictures, each from its own seed; what a mask leaves of a given one is kept."""
        params, base, over = self._params, self._request(1), None
        if params.get("input"):
            picture = self._frames({"file": params["input"]})
            seen = self._seen(picture)
            if params.get("mask"):
                with Image.open(self._folder / params["mask"]) as alpha:
                    kept = np.asarray(alpha) > 0
                aspect = self._width / self._height
                over = Over(picture, scaled_mask(kept, self._height, self._width, aspect))
                base = tasks.repaint(base, seen, ~scaled_mask(kept, *self._native, aspect))
            if params.get("strength"):
                base = tasks.video_to_video(base, seen, params["strength"])
        shown = Made(np.zeros(1, np.intp), over)
        return [
            self._part(replace(base, seed=base.seed + n), self._fps, shown, name=f"image{n}")
            for n in range(params["n"])
        ]

    def _request(self, num_frames: int) -> Request:
        params = self._params
        return Request(
            prompt=self._job.prompt,
            num_frames=num_frames,
            height=self._native[0],
            width=self._native[1],
            seed=params["seed"],
            steps=params["steps"],
            guidance=params["guidance"],
            negative_prompt=params["negative_prompt"],
        )

    def _part(self, request: Request, fps: float, *pieces: Piece, name: str = "video") -> Part:
        return Part(
            name=name,
            request=request,
            width=self._width,
            height=self._height,
            fps=fps,
            pieces=tuple(piece for piece in pieces if len(piece)),
        )


def _kept(
    pieces: list[Piece], clip: Frames, keyframe: dict[str, Any], num_out: int, fps_out: float
) -> list[Piece]:
    """The pieces, with the clip itself in place of what the model makes of it."""
    count = max(1, round(len(clip) / keyframe["fps"] * fps_out))
    start = num_out - count if keyframe["at"] == "end" else round(keyframe["at"] * fps_out)
    start, end = max(start, 0), min(start + count, num_out)
    kept = Kept(clip[shown_at(len(clip), keyframe["fps"], end - start, fps_out)])
    found: list[Piece] = []
    at = 0
    for piece in pieces:
        first, at = at, at + len(piece)
        if isinstance(piece, Kept) or not (first <= start and end <= at):
            found.append(piece)
        else:
            made = piece.indices
            found += [Made(made[: start - first]), kept, Made(made[end - first :])]
    return found
