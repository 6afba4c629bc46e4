"""Decode a film once: small frames with true timestamps, and what was wrong on the way."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

SMALL_HEIGHT, SMALL_WIDTH = 72, 96  # whatever the film's shape: all that is measured is relative
MIN_SIDE = 16  # pixels; a smaller picture shows nothing
# Playlists and scripts (HLS, concat) are left out: they would open other files.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo"

Image = npt.NDArray[np.uint8]


class UnreadableError(Exception):
    """A film that cannot be used: at which stage, why in one sentence, the decoder's own words."""

    def __init__(self, stage: str, reason: str, words: str = "") -> None:
        super().__init__(reason)
        self.stage, self.reason, self.words = stage, reason, words


@dataclass(kw_only=True)
class Film:
    """What the container says, and what decoding has shown so far. Sizes are as displayed."""

    container: str
    codec: str
    width: int
    height: int
    nominal_fps: float
    time_base: float
    declared_s: float = 0.0
    pts: list[int] = field(default_factory=list)
    timed: bool = True  # False when frames carry no timestamps: they are numbered instead
    packets: list[tuple[int | None, bool]] = field(default_factory=list)
    """(pts, is keyframe) of each packet, in decode order."""
    damaged: int = 0
    words: list[str] = field(default_factory=list)

    @property
    def times_s(self) -> npt.NDArray[np.float64]:
        """(num_frames + 1,) seconds since the first frame; the last is the film's end."""
        times = (np.asarray(self.pts, np.float64) - self.pts[0]) * self.time_base
        last_s = times[-1] - times[-2] if len(times) > 1 else 1 / self.nominal_fps
        return np.append(times, times[-1] + last_s)

    @property
    def duration_s(self) -> float:
        return float(self.times_s[-1])

    @property
    def fps(self) -> float:
        """Frames a second by true timestamps; the declared rate where containers only round it."""
        if self.duration_s <= 0:
            return self.nominal_fps
        measured = len(self.pts) / self.duration_s
        return self.nominal_fps if abs(measured / self.nominal_fps - 1) < 0.005 else measured

    def span_fps(self, start: int, end: int) -> float:
        """The same for frames [start, end)."""
        duration_s = float(self.times_s[end] - self.times_s[start])
        measured = (end - start) / duration_s if duration_s > 0 else self.fps
        return self.fps if abs(measured / self.fps - 1) < 0.01 else measured


@contextmanager
def open_film(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its first video stream.

    Raises:
        UnreadableError: empty, not a video, cut off before its index, or no video inside.
    """
    if not path.stat().st_size:
        raise UnreadableError("open", "the file is empty")
    words = list[str]()
    try:
        with _decoder_words(words):
            container = av.open(
                f"file:{path}",
                options={"format_whitelist": FORMATS, "protocol_whitelist": "file"},
                metadata_errors="replace",
            )
    except av.FFmpegError as error:
        said = "; ".join([str(error.strerror), *words[:3]])
        raise UnreadableError("open", _why_not_opened(path), said) from error
    with container:
        if not container.streams.video:
            raise UnreadableError(
                "open", "the file holds no video stream, only " + _kinds(container)
            )
        stream = container.streams.video[0]
        # Films are decoded side by side, one core each.
        stream.thread_count = 1
        yield container, stream


def read_film(path: Path) -> Iterator[tuple[Film, Image]]:
    """Every frame in the order shown, (72, 96, 3) BGR, upright, with the film's growing facts.

    The facts are one object: whole once the last frame was taken.

    Raises:
        UnreadableError: now or while reading.
    """
    with open_film(path) as (container, stream):
        film: Film | None = None
        damaged, words, packets = 0, list[str](), list[tuple[int | None, bool]]()
        with _decoder_words(words):
            for frame in _decoded(container, stream, packets, words):
                if frame is None:
                    damaged += 1
                    continue
                if film is None:
                    film = _film(container, stream, frame)
                damaged += frame.is_corrupt
                film.timed = film.timed and frame.pts is not None
                step = round(1 / (film.nominal_fps * film.time_base))
                film.pts.append(frame.pts if frame.pts is not None else len(film.pts) * step)
                yield film, _small(frame)
        if film is None:
            raise UnreadableError("decode", "no frame of the video decodes", "; ".join(words[:3]))
        film.damaged, film.words, film.packets = damaged, words[:8], packets


def _decoded(
    container: Any, stream: Any, packets: list[tuple[int | None, bool]], words: list[str]
) -> Iterator[Any]:
    """Decoded frames; None for every packet that does not decode. Notes the packets."""
    demuxed = container.demux(stream)
    while True:
        try:
            packet = next(demuxed, None)
        except av.FFmpegError as error:
            words.append(str(error.strerror))
            return
        if packet is None:
            return
        if packet.size:  # the last one is empty and flushes the decoder
            packets.append((packet.pts, packet.is_keyframe))
        try:
            yield from packet.decode()
        except av.FFmpegError as error:
            words.append(str(error.strerror))
            yield None


def _film(container: Any, stream: Any, frame: Any) -> Film:
    width = round(frame.width * float(stream.sample_aspect_ratio or 1))
    height = frame.height
    if min(width, height) < MIN_SIDE:
        raise UnreadableError("decode", f"frames of {width}x{height} pixels are too small to use")
    if _quarter_turns(frame) % 2:
        width, height = height, width
    rate = stream.average_rate or stream.guessed_rate or 25
    return Film(
        container=container.format.name.split(",")[0],
        codec=stream.codec_context.name,
        width=width,
        height=height,
        nominal_fps=float(rate),
        time_base=float(stream.time_base),
        declared_s=_declared_s(container, stream),
    )


def _declared_s(container: Any, stream: Any) -> float:
    """The video's duration by the container's own account; 0 when it says nothing."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if tag := stream.metadata.get("DURATION"):  # Matroska: 00:00:43.709000000
        hours, minutes, seconds = tag.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    if container.duration and len(container.streams) == 1:
        return float(container.duration / av.time_base)
    return 0.0


def _small(frame: Any) -> Image:
    turns = _quarter_turns(frame)
    tall = turns % 2 == 1
    image: Image = frame.reformat(
        width=SMALL_HEIGHT if tall else SMALL_WIDTH,
        height=SMALL_WIDTH if tall else SMALL_HEIGHT,
        format="bgr24",
        interpolation="AREA",
        threads=1,
    ).to_ndarray()
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _quarter_turns(frame: Any) -> int:
    return int(round(frame.rotation / 90) % 4)


@contextmanager
def _decoder_words(words: list[str]) -> Iterator[None]:
    """Collect what FFmpeg says about errors on this thread."""
    level, skip = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    said: list[tuple[int, str, str]] = []
    try:
        with av.logging.Capture(local=True) as said:
            yield
    finally:
        words += [f"{name}: {message.strip()}" for _, name, message in said]
        av.logging.set_skip_repeated(skip)
        av.logging.set_level(level)


def _kinds(container: Any) -> str:
    return ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"


def _why_not_opened(path: Path) -> str:
    """Why FFmpeg refuses the file, by its first bytes; FFmpeg's message goes by the file's name."""
    with path.open("rb") as handle:
        head = handle.read(16)
        handle.seek(0, os.SEEK_SET)
        blank = not handle.read(1 << 16).strip(b"\0")
    if blank:
        return "the file holds only zeros: it was never filled"
    if head[4:8] in {b"ftyp", b"mdat", b"moov", b"wide", b"free", b"skip"}:
        return "no moov atom: the file is cut off or was never finished"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "the Matroska file is cut off or damaged near its start"
    if head[:4] == b"RIFF":
        return "the AVI file is cut off or damaged near its start"
    return "not a video container"
