"""Clips: which spans become clips, and their bytes, copied from the film without re-encoding.

A span's bytes start at the keyframe at or before it, so they may hold frames from before the
span; `offset_s` says where the span begins.
"""

import hashlib
import io
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from infra.recipes import fingerprint
from ingest.decode import Film, open_film
from ingest.recipe import ClipRecipe, ExtractionRecipe
from ingest.shots import divide


@dataclass(frozen=True)
class Span:
    """Frames [start, end) of a film; a reason when they are no clip."""

    start: int
    end: int
    reason: str = ""


@dataclass(frozen=True)
class Extract:
    """A clip's bytes, and where its span starts: seconds from the first frame in them."""

    data: bytes
    offset_s: float


def plan(
    shots: Iterable[tuple[int, int]], times_s: npt.NDArray[np.float64], recipe: ClipRecipe
) -> list[Span]:
    """Clips of each shot: a long one divided evenly, a short one rejected with its reason."""
    result = []
    for start, end in shots:
        if times_s[end] - times_s[start] < recipe.min_duration_s - 1e-6:
            reason = f"shorter than {recipe.min_duration_s:g} s"
            result.append(Span(start, end, reason))
            continue
        edges = divide(start, end, times_s, recipe.max_duration_s)
        result += [Span(first, last) for first, last in itertools.pairwise(edges)]
    return result


def clip_id(source_id: str, span: Span, recipe: ExtractionRecipe) -> str:
    """32 hex digits: the same film, span and extraction give the same id on any machine."""
    key = f"{source_id}:{span.start}:{span.end}:{fingerprint(recipe)}"
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def extract(
    path: Path, film: Film, spans: Sequence[Span], recipe: ExtractionRecipe
) -> Iterator[tuple[Span, Extract]]:
    """Each span's bytes: packets copied, or re-encoded when they cannot be."""
    wanted = [span for span in spans if not span.reason]
    ranges = _packet_ranges(film, wanted)
    if ranges is None:
        yield from _encode(path, film, wanted, recipe)
        return
    try:
        copies = list(_copy(path, film, wanted, ranges))
    except (av.FFmpegError, ValueError):
        # Some codecs fit no container that we write, and only the muxer knows.
        yield from _encode(path, film, wanted, recipe)
        return
    yield from copies


def _packet_ranges(film: Film, spans: Sequence[Span]) -> list[tuple[int, int]] | None:
    """[first, last] packet of each span, in decode order; None when packets cannot be matched."""
    if not film.timed or any(pts is None for pts, _ in film.packets):
        return None
    pts = np.array([pts for pts, _ in film.packets], np.int64)
    keys = np.flatnonzero([is_key for _, is_key in film.packets])
    ranges = []
    for span in spans:
        first_pts, last_pts = film.pts[span.start], film.pts[span.end - 1]
        before = keys[pts[keys] <= first_pts]
        if not len(before):
            return None
        first = int(before[np.argmax(pts[before])])
        inside = np.flatnonzero((pts >= pts[first]) & (pts <= last_pts))
        ranges.append((first, int(inside.max())))
    return ranges


def _copy(
    path: Path, film: Film, spans: Sequence[Span], ranges: Sequence[tuple[int, int]]
) -> Iterator[tuple[Span, Extract]]:
    """One demuxing pass; no more packets are held than the clips still to come may need."""
    pending = deque(sorted(zip(ranges, spans, strict=True), key=lambda entry: entry[0][1]))
    with open_film(path) as (container, stream):
        held: deque[tuple[int, Any]] = deque()
        for index, packet in enumerate(p for p in container.demux(stream) if p.size):
            if not pending:
                return
            held.append((index, packet))
            while pending and pending[0][0][1] == index:
                (first, _), span = pending.popleft()
                packets = [held_packet for number, held_packet in held if number >= first]
                start_pts = film.packets[first][0]
                assert start_pts is not None
                offset_s = (film.pts[span.start] - start_pts) * film.time_base
                yield span, Extract(_mux(packets, stream, film.codec, start_pts), offset_s)
            needed = min((entry[0][0] for entry in pending), default=index)
            while held and held[0][0] < needed:
                held.popleft()


def _mux(packets: Sequence[Any], stream: Any, codec: str, start_pts: int) -> bytes:
    buffer = io.BytesIO()
    name = "mp4" if codec == "h264" else "matroska"
    options = {"fflags": "+bitexact"}
    with av.open(buffer, "w", format=name, options=options) as out:
        target = out.add_stream_from_template(stream)
        for packet in packets:
            # Muxing rescales a packet in place, and the next clip may need it again.
            pts, dts, duration, time_base = (
                packet.pts,
                packet.dts,
                packet.duration,
                packet.time_base,
            )
            # Frames shown before the keyframe but coded after it lean on frames we leave out.
            if pts < start_pts:
                continue
            packet.stream = target
            packet.pts, packet.dts = pts - start_pts, dts - start_pts if dts is not None else None
            out.mux(packet)
            packet.stream, packet.time_base = stream, time_base
            packet.pts, packet.dts, packet.duration = pts, dts, duration
    return buffer.getvalue()


def _encode(
    path: Path, film: Film, spans: Sequence[Span], recipe: ExtractionRecipe
) -> Iterator[tuple[Span, Extract]]:
    """Decode the film once more and encode each span with x264."""
    pending = deque(sorted(spans, key=lambda span: span.start))
    frames: list[Any] = []
    with open_film(path) as (container, stream):
        for index, frame in enumerate(container.decode(stream)):
            if not pending:
                return
            span = pending[0]
            if index >= span.start:
                frames.append(frame)
            if index == span.end - 1:
                times_s = film.times_s[span.start : span.end] - film.times_s[span.start]
                yield span, Extract(_encoded(frames, times_s, film, recipe), 0.0)
                frames = []
                pending.popleft()


def _encoded(
    frames: Sequence[Any],
    times_s: npt.NDArray[np.float64],
    film: Film,
    recipe: ExtractionRecipe,
) -> bytes:
    buffer = io.BytesIO()
    width, height = frames[0].width // 2 * 2, frames[0].height // 2 * 2
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as out:
        rate = Fraction(film.fps).limit_denominator(1001)
        target = out.add_stream("libx264", rate=rate, options={"crf": str(recipe.crf)})
        target.width, target.height, target.pix_fmt = width, height, "yuv420p"
        target.codec_context.time_base = Fraction(1, 90_000)
        target.codec_context.thread_count = 1
        for frame, time_s in zip(frames, times_s, strict=True):
            picture = frame.reformat(width=width, height=height, format="yuv420p")
            picture.pts, picture.time_base = round(time_s * 90_000), Fraction(1, 90_000)
            out.mux(target.encode(picture))
        out.mux(target.encode(None))
    return buffer.getvalue()
