"""Clips: which spans become clips, and their bytes, copied from the film without re-encoding.

A span's bytes start at the keyframe at or before it, so they may hold frames from before the
span; `offset_s` says where the span begins.
"""

import errno
import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation, VideoReformatter

from infra.color import is_hdr, sdr_picture
from infra.recipes import fingerprint
from infra.video import X264_OPTIONS
from ingest.containers import open_film
from ingest.decode import NO_PTS, Film, decoded_frames
from ingest.recipe import ClipRecipe, ExtractionRecipe
from ingest.shots import divide

TICKS_PER_S = 90_000  # of clips that are encoded again
REJECT_LEAD_S = 5.0  # a reject whose keyframe lies further before it is not worth its bytes


@dataclass(frozen=True)
class Span:
    """Frames [start, end) of a film; a reason when they are no clip."""

    start: int
    end: int
    reason: str = ""


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
    path: Path, film: Film, targets: Mapping[Span, Path], recipe: ExtractionRecipe
) -> dict[Span, float]:
    """Write each span's bytes to its file: packets copied, or re-encoded when they cannot be.
    A rejected span is written, for people to see, only where a copy is cheap.

    Returns where each span starts, seconds from the first frame in its bytes.
    """
    ranges = _packet_ranges(film, targets, recipe)
    near = {span: file for span, file in targets.items() if span in ranges}
    try:
        offsets_s = _copy(path, film, near, ranges)
    except (av.FFmpegError, ValueError) as error:
        if getattr(error, "errno", 0) == errno.ENOSPC:
            raise
        offsets_s = {}  # some codecs fit no container that we write, and only the muxer knows
    rest = {
        span: file for span, file in targets.items() if span not in offsets_s and not span.reason
    }
    return offsets_s | _encode(path, film, rest, recipe)


def _packet_ranges(
    film: Film, spans: Iterable[Span], recipe: ExtractionRecipe
) -> dict[Span, tuple[int, int]]:
    """[first, last] packet, in decode order, of each span whose packets are worth copying."""
    pts = np.array(film.packet_pts, np.int64)
    if not film.timed or (pts == NO_PTS).any():
        return {}
    keys = np.flatnonzero(np.frombuffer(film.packet_keys, np.uint8))
    keys = keys[np.argsort(pts[keys], kind="stable")]
    ranges = {}
    for span in spans:
        first_pts, last_pts = film.pts[span.start], film.pts[span.end - 1]
        before = int(np.searchsorted(pts[keys], first_pts, side="right"))
        if not before:
            continue
        first = int(keys[before - 1])
        # A film with a single keyframe would be copied whole into each of its clips.
        max_lead_s = min(recipe.max_lead_s, REJECT_LEAD_S if span.reason else np.inf)
        if (first_pts - pts[first]) * film.time_base > max_lead_s:
            continue
        inside = np.flatnonzero((pts >= pts[first]) & (pts <= last_pts))
        ranges[span] = (first, int(inside.max()))
    return ranges


def _copy(
    path: Path,
    film: Film,
    targets: Mapping[Span, Path],
    ranges: Mapping[Span, tuple[int, int]],
) -> dict[Span, float]:
    """One demuxing pass; no more packets are held than the clips still to come may need."""
    if not targets:
        return {}
    pending = deque(sorted(targets, key=lambda span: ranges[span][1]))
    # The first packet that this span, or one after it, needs.
    needed = deque(itertools.accumulate((ranges[s][0] for s in reversed(pending)), min))
    needed.reverse()
    offsets_s = dict[Span, float]()
    with open_film(path) as (container, stream):
        held: deque[tuple[int, Any]] = deque()
        for index, packet in enumerate(p for p in container.demux(stream) if p.size):
            if not pending:
                break
            if index >= needed[0]:
                held.append((index, _shown(packet)))
            while pending and ranges[pending[0]][1] == index:
                span = pending.popleft()
                needed.popleft()
                first = ranges[span][0]
                packets = [held_packet for number, held_packet in held if number >= first]
                start_pts = film.packet_pts[first]
                _mux(packets, stream, film.codec, start_pts, targets[span])
                offsets_s[span] = (film.pts[span.start] - start_pts) * film.time_base
                while held and needed and held[0][0] < needed[0]:
                    held.popleft()
    return offsets_s


def _shown(packet: Any) -> Any:
    """What an edit list hides is shown in a clip: the clip's own list is where its span begins."""
    if not packet.is_discard:
        return packet
    fresh: Any = av.Packet(bytes(packet))
    fresh.stream, fresh.time_base = packet.stream, packet.time_base
    fresh.pts, fresh.dts, fresh.duration = packet.pts, packet.dts, packet.duration
    fresh.is_keyframe = packet.is_keyframe
    return fresh


def _mux(packets: Sequence[Any], stream: Any, codec: str, start_pts: int, file: Path) -> None:
    name = "mp4" if codec == "h264" else "matroska"
    options = {"fflags": "+bitexact"}
    with av.open(str(file), "w", format=name, options=options) as out:
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


def _encode(
    path: Path, film: Film, targets: Mapping[Span, Path], recipe: ExtractionRecipe
) -> dict[Span, float]:
    """Decode the film once more and encode each span with x264; one frame is held at a time."""
    if not targets:
        return {}
    pending = deque(sorted(targets, key=lambda span: span.start))
    with open_film(path) as (container, stream), ExitStack() as stack:
        encoder: _Encoder | None = None
        for index, frame in enumerate(decoded_frames(container, stream)):
            if not pending:
                break
            span = pending[0]
            if index == span.start:
                encoder = stack.enter_context(_encoder(targets[span], frame, film, recipe))
            if encoder is not None:
                encoder(frame, float(film.times_s[index] - film.times_s[span.start]))
            if index == span.end - 1:
                stack.close()
                encoder = None
                pending.popleft()
    return {span: 0.0 for span in targets if span not in pending}


_Encoder = Callable[[Any, float], None]


@contextmanager
def _encoder(file: Path, first: Any, film: Film, recipe: ExtractionRecipe) -> Iterator[_Encoder]:
    """Takes frames with their times, seconds from the clip's first, and writes them as H.264."""
    width, height = first.width // 2 * 2, first.height // 2 * 2
    reformatter = VideoReformatter()
    with av.open(str(file), "w", format="mp4", options={"fflags": "+bitexact"}) as out:
        rate = Fraction(film.fps).limit_denominator(1001)
        options = {"crf": str(recipe.crf), **X264_OPTIONS}
        target: Any = out.add_stream("libx264", rate=rate, options=options)
        target.width, target.height, target.pix_fmt = width, height, "yuv420p"
        target.codec_context.time_base = Fraction(1, TICKS_PER_S)
        target.codec_context.thread_count = 1

        def encode(frame: Any, time_s: float) -> None:
            if is_hdr(frame):
                size = (frame.width, frame.height)
                bright = sdr_picture(frame, *size, Interpolation.BICUBIC, reformatter)
                frame = av.VideoFrame.from_ndarray(bright, format="rgb24")
            picture = reformatter.reformat(
                frame, width=width, height=height, format="yuv420p", threads=1
            )
            picture.pts, picture.time_base = round(time_s * TICKS_PER_S), Fraction(1, TICKS_PER_S)
            out.mux(target.encode(picture))

        yield encode
        out.mux(target.encode(None))
