"""Decode a film once: small frames with true timestamps, and what was wrong on the way."""

import errno
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from ingest.containers import (
    MAX_PIXELS,
    UnreadableError,
    decoder_words,
    in_words,
    open_film,
    trim,
)
from ingest.shrink import SMALL_HEIGHT, SMALL_WIDTH, Image, Shrinker, quarter_turns

__all__ = [
    "SMALL_HEIGHT",
    "SMALL_WIDTH",
    "Film",
    "Image",
    "UnreadableError",
    "open_film",
    "read_film",
]

MIN_SIDE = 16  # pixels; a smaller picture shows nothing
NO_PTS = -(1 << 63)
NO_MEMORY = "get_buffer() failed"  # which FFmpeg's decoders then report as invalid data
MAX_FPS = 480.0  # a header that claims more lies
DEFAULT_FPS = 25.0
JUMP_S = 1.0  # timestamps that fall back further than this begin anew


@dataclass(kw_only=True)
class Film:
    """What the container says, and what decoding has shown so far. Sizes are as displayed.

    A number for each frame and packet is all that grows with the film's length.
    """

    container: str
    codec: str
    width: int
    height: int
    nominal_fps: float
    time_base: float
    declared_s: float = 0.0
    pts: "array[int]" = field(default_factory=lambda: array("q"))
    """Of each frame; always rising."""
    timed: bool = True
    """False when some frame had no timestamp of its own, or one that did not rise."""
    packet_pts: "array[int]" = field(default_factory=lambda: array("q"))
    """Of each packet, in decode order; NO_PTS when it has none."""
    packet_keys: bytearray = field(default_factory=bytearray)
    """Whether each packet is a keyframe."""
    interlaced_frames: int = 0
    damaged: int = 0
    words: list[str] = field(default_factory=list)
    _shift: int = field(default=0, init=False, repr=False)
    _times_s: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0), init=False)

    @property
    def times_s(self) -> npt.NDArray[np.float64]:
        """(num_frames + 1,) seconds since the first frame; the last is the film's end."""
        if len(self._times_s) != len(self.pts) + 1:
            times = (np.array(self.pts, np.float64) - self.pts[0]) * self.time_base
            last_s = times[-1] - times[-2] if len(times) > 1 else 1 / self.nominal_fps
            self._times_s = np.append(times, times[-1] + last_s)
        return self._times_s

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

    @property
    def interlaced(self) -> bool:
        """Whether most frames are two fields of different moments."""
        return 2 * self.interlaced_frames > len(self.pts)

    def span_fps(self, start: int, end: int) -> float:
        """The same as `fps` for frames [start, end)."""
        duration_s = float(self.times_s[end] - self.times_s[start])
        measured = (end - start) / duration_s if duration_s > 0 else self.fps
        return self.fps if abs(measured / self.fps - 1) < 0.01 else measured

    def add_frame(self, pts: int | None) -> None:
        """Take in the next frame's timestamp.

        One that is missing, or that does not rise, is put right after the last one's; where a
        recording begins anew (they fall back by more than a second) its times follow on.
        """
        step = max(1, round(1 / (self.nominal_fps * self.time_base)))
        last = self.pts[-1] if self.pts else None
        if last is None:
            rising = 0 if pts is None else pts
        elif pts is None:
            rising = last + step
        else:
            if (last - pts - self._shift) * self.time_base > JUMP_S:
                self._shift = last + step - pts
            rising = max(last + 1, pts + self._shift)
        self.timed = self.timed and rising == pts
        self.pts.append(rising)

    def add_packet(self, packet: Any) -> None:
        """Note a packet, in decode order."""
        self.packet_pts.append(NO_PTS if packet.pts is None else packet.pts)
        self.packet_keys.append(packet.is_keyframe)


def read_film(path: Path) -> Iterator[tuple[Film, Image]]:
    """Every frame in the order shown, (72, 96, 3) BGR, upright, with the film's growing facts.

    The facts are one object: whole once the last frame was taken.

    Raises:
        UnreadableError: now or while reading.
    """
    with open_film(path) as (container, stream), decoder_words() as said:
        film = _declared(container, stream)
        shrinker = Shrinker()
        for frame in _decoded(container, stream, film):
            if frame is None:
                if any(NO_MEMORY in words for words in in_words(said)):
                    raise MemoryError("; ".join(in_words(said)[:3]))
                film.damaged += 1
                trim(said)
                continue
            if not film.pts:
                film.width, film.height = _shown_size(stream, frame)
            film.damaged += frame.is_corrupt
            film.interlaced_frames += frame.interlaced_frame
            film.add_frame(frame.pts)
            yield film, shrinker.shrink(frame)
        film.words = [*film.words, *in_words(said)][:8]
        if not film.pts:
            raise UnreadableError(
                "decode", "no frame of the video decodes", "; ".join(film.words[:3])
            )


def decoded_frames(container: Any, stream: Any) -> Iterator[Any]:
    """The same frames as `read_film` counts, in full size: a second look at the same film."""
    with decoder_words() as said:
        for frame in _decoded(container, stream, _declared(container, stream)):
            if frame is None:
                trim(said)
            else:
                yield frame


def _decoded(container: Any, stream: Any, film: Film) -> Iterator[Any]:
    """Decoded frames; None for every packet that does not decode. Notes the packets."""
    demuxed = container.demux(stream)
    while True:
        try:
            packet = next(demuxed, None)
        except av.FFmpegError as error:
            _note(error, film)
            return
        if packet is None:
            return
        if packet.size:  # the last one is empty and flushes the decoder
            film.add_packet(packet)
        try:
            yield from packet.decode()
        except av.FFmpegError as error:
            _note(error, film)
            yield None


def _note(error: av.FFmpegError, film: Film) -> None:
    """Keep the first of the decoder's errors; lack of memory is no fault of one packet's."""
    if error.errno == errno.ENOMEM:
        raise MemoryError(error.strerror) from error
    if len(film.words) < 3:
        film.words.append(str(error.strerror))


def _declared(container: Any, stream: Any) -> Film:
    """What is known before the first frame."""
    rates = (stream.average_rate, stream.guessed_rate)
    plausible = (float(rate) for rate in rates if rate and 0 < rate <= MAX_FPS)
    return Film(
        container=container.format.name.split(",")[0],
        codec=stream.codec_context.name,
        width=0,
        height=0,
        nominal_fps=next(plausible, DEFAULT_FPS),
        time_base=float(stream.time_base),
        declared_s=_declared_s(container, stream),
    )


def _shown_size(stream: Any, frame: Any) -> tuple[int, int]:
    """(width, height) with square pixels and upright.

    Raises:
        UnreadableError: too small to show anything, or too large to hold.
    """
    width = round(frame.width * float(stream.sample_aspect_ratio or 1))
    height = frame.height
    if min(width, height) < MIN_SIDE:
        raise UnreadableError("decode", f"frames of {width}x{height} pixels are too small to use")
    if width * height > MAX_PIXELS:
        raise UnreadableError("decode", f"frames of {width}x{height} pixels are too large to read")
    return (height, width) if quarter_turns(frame) % 2 else (width, height)


def _declared_s(container: Any, stream: Any) -> float:
    """The video's duration by the container's own account; 0 when it says nothing."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(\.\d*)?)", stream.metadata.get("DURATION", ""))
    if tag:  # Matroska: 00:00:43.709000000
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
    if container.duration and len(container.streams) == 1:
        return float(container.duration / av.time_base)
    return 0.0
