"""Draws a planned film and encodes it as a stranger would deliver it."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import av
import webvtt
from av.video.stream import VideoStream

from flows.demo.plan import Film, Shot
from flows.demo.scene import Frames, render_frames
from infra.video import X264_OPTIONS

ENCODERS = {
    "h264": ("libx264", {"preset": "veryfast", "crf": "20", **X264_OPTIONS}),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "crf": "30", "b": "0"}),
}
MUXERS = {"mp4": "mp4", "mkv": "matroska", "webm": "webm"}


def write_film(film: Film, footage: Path) -> None:
    """Write the film, and its cues when it has captions, below the footage folder; atomic.

    A film that is there already is left as it is: its file appears last, and whole.
    """
    path = footage / film.path
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if film.captioned:
        write_cues(film, path.with_suffix(".vtt"))
    encode(draw(film), path, codec=film.codec, fps=film.fps)


def draw(film: Film) -> Iterator[Frames]:
    """The film's frames (H, W, 3) RGB, one after the other."""
    for index, shot in enumerate(film.shots):
        yield from _scene_frames(film, shot, 0, shot.num_frames)
        if index == len(film.transitions):
            return
        transition = film.transitions[index]
        count = transition.num_frames
        if not count:
            continue
        old = _scene_frames(film, shot, shot.num_frames, count)
        new = _scene_frames(film, film.shots[index + 1], -count, count)
        for step, (out, into) in enumerate(zip(old, new, strict=True), start=1):
            yield _mix(transition.kind, out, into, step / (count + 1))


def _scene_frames(film: Film, shot: Shot, first: int, count: int) -> Frames:
    times_s = [frame / film.fps for frame in range(first, first + count)]
    return render_frames(shot.scene, times_s, film.height, film.width)


def _mix(kind: str, out: Frames, into: Frames, progress: float) -> Frames:
    """A frame of a transition: a dissolve blends, a fade goes through black in the middle."""
    if kind == "dissolve":
        mixed = out * (1 - progress) + into * progress
    elif progress < 0.5:
        mixed = out * (1 - 2 * progress)
    else:
        mixed = into * (2 * progress - 1)
    return (mixed + 0.5).astype("uint8")


def encode(frames: Iterator[Frames], path: Path, *, codec: str, fps: int, crf: int = 0) -> None:
    """Encode RGB frames into `path`, whose suffix names the container; the file appears whole.

    One thread and no random ids, so that the same frames make the same bytes. `crf` 0 means the
    codec's own default here.
    """
    name, options = ENCODERS[codec]
    if crf:
        options = {**options, "crf": str(crf)}
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    first = next(frames)
    with av.open(
        str(temporary), "w", format=MUXERS[path.suffix[1:]], options={"fflags": "+bitexact"}
    ) as container:
        stream = cast(VideoStream, container.add_stream(name, rate=fps, options=dict(options)))
        stream.width, stream.height = first.shape[1], first.shape[0]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for x_HWC in itertools.chain([first], frames):
            frame = av.VideoFrame.from_ndarray(x_HWC, format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p", threads=1)))
        container.mux(stream.encode())
    temporary.replace(path)


def write_cues(film: Film, path: Path) -> None:
    """A WebVTT file with one cue for each shot, over the frames that show it alone; atomic."""
    vtt = webvtt.WebVTT()
    for shot, (start, end) in zip(film.shots, film.spans(), strict=True):
        text = shot.scene.attributes.caption()
        vtt.captions.append(
            webvtt.Caption(_timestamp(start / film.fps), _timestamp(end / film.fps), text)
        )
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(vtt.content, encoding="utf-8")
    temporary.replace(path)


def _timestamp(time_s: float) -> str:
    minutes, milliseconds = divmod(round(time_s * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds / 1000:06.3f}"
