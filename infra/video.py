"""Decode and encode video with PyAV: clips out of the lake, uploads, generated frames to MP4.

Frames are numpy arrays (T, H, W, 3), uint8, RGB, upright and with square pixels.
"""

import io
import itertools
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    Colorspace,
    ColorTrc,
    Interpolation,
    VideoReformatter,
)

from infra.color import UNSPECIFIED, is_hdr, sdr_picture
from infra.errors import InputError

Frames = npt.NDArray[np.uint8]

# swscale's defaults drop every second chroma column and darken by a level or two; with these two
# flags area scaling is within 0.3 levels of the exact mean, and no slower.
EXACT = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
HD_HEIGHT = 720  # untagged video from here up is BT.709, below it BT.601
# Containers of uploads. Playlists (HLS, concat) are left out: they would open other files.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,ogg,flv,gif,apng,"
    "png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe,h264,hevc,ivf"
)
CRF = "18"


def _x264_options() -> dict[str, str]:
    # x264's AVX-512 code reads memory that was never written, in the pass that spreads quality
    # over coming frames: the same pictures seldom became another file, by what lay in the heap
    # (every time under another MALLOC_PERTURB_). What it has for AVX2 does not, and is as fast.
    cpu = Path("/proc/cpuinfo")
    wide = cpu.is_file() and "avx512" in cpu.read_text(encoding="utf-8", errors="replace")
    return {"x264-params": "asm=AVX2"} if wide else {}


X264_OPTIONS = _x264_options()
"""What every encoder with x264 is given, so that the same frames make the same bytes."""


def read_clip(
    data: bytes, offset_s: float, times_s: Sequence[float], size: tuple[int, int] | None
) -> Frames:
    """The frames shown at `offset_s + times_s`, seconds from the first frame in `data`.

    A frame is shown from its timestamp until the next one's, and counts as shown up to half a
    frame early, so that rounded times find the frame they mean; the last one stays. `size`
    (height, width): frames are scaled to cover it and cropped about the centre; None keeps the
    stored size.

    Returns:
        (len(times_s), H, W, 3) uint8.
    Raises:
        InputError: the bytes do not decode.
    """
    order = sorted(range(len(times_s)), key=lambda index: times_s[index])
    chosen: list[Frames | None] = [None] * len(times_s)
    with _open_video(data) as (container, stream):
        rate = stream.average_rate or stream.guessed_rate
        slack_s = 0.5 / float(rate) if rate else 0.0
        frames = _timed_frames(container, stream)
        shown = next(frames)
        coming = next(frames, None)
        picture = None
        for index in order:
            wanted_s = offset_s + times_s[index]
            # Frames of a variable rate may lie closer together than the average says.
            while coming and wanted_s >= coming[0] - min(slack_s, (coming[0] - shown[0]) / 2):
                shown, picture = coming, None
                coming = next(frames, None)
            if picture is None:
                picture = _to_rgb(shown[1], stream, size)
            chosen[index] = picture
    return np.stack([frame for frame in chosen if frame is not None])


def read_file_frames(
    source: Path | str | bytes, max_frames: int, size: tuple[int, int] | None = None
) -> tuple[Frames, float]:
    """The first `max_frames` frames of a video or picture file, and its frames a second.

    `size` (height, width) scales and crops as in `read_clip`.

    Raises:
        InputError: not a video or picture, or it does not decode.
    """
    pictures = []
    with _open_video(source) as (container, stream):
        fps = float(stream.average_rate or stream.guessed_rate or 1)
        for _, frame in _timed_frames(container, stream):
            pictures.append(_to_rgb(frame, stream, size))
            if len(pictures) == max_frames:
                break
    return np.stack(pictures), fps


def each_frame(source: Path | str | bytes, size: tuple[int, int] | None = None) -> Iterator[Frames]:
    """The frames (H, W, 3) of a video file, one at a time; `size` as in `read_file_frames`.

    Raises:
        InputError: not a video or picture, or it does not decode.
    """
    with _open_video(source) as (container, stream):
        for _, frame in _timed_frames(container, stream):
            yield _to_rgb(frame, stream, size)


def last_frame(source: Path | str | bytes) -> Frames:
    """The last frame (H, W, 3) of a video file.

    Raises:
        InputError: not a video or picture, or it does not decode.
    """
    with _open_video(source) as (container, stream):
        last = None
        for _, last in _timed_frames(container, stream):  # noqa: B007 - the last one is wanted
            pass
        assert last is not None, "a stream without a frame raises"
        return _to_rgb(last, stream, None)


def write_mp4(frames: Iterable[Frames], fps: float, path: Path, comment: str = "") -> None:
    """Write H.264 4:2:0 with the index in front, which every browser plays while loading.

    `frames`: an array (T, H, W, 3) uint8, or any iterable of frames (H, W, 3), of which only one
    is held at a time; an odd edge is repeated once, since 4:2:0 needs even sizes. `comment` goes
    into the file's metadata. The file appears whole or not at all.

    Raises:
        InputError: no frame, or one of another shape or type.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        with av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"}) as out:
            if comment:
                out.metadata["comment"] = comment
            _encode((_even(frame) for frame in frames), fps, out)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def encode_mp4(frames: Iterable[Frames], fps: float) -> bytes:
    """The bytes of `write_mp4`."""
    # Moving the index to the front re-reads the output, so it needs a real file.
    with tempfile.TemporaryDirectory(prefix="reel-") as folder:
        path = Path(folder) / "video.mp4"
        write_mp4(frames, fps, path)
        return path.read_bytes()


def _even(frame: Frames) -> Frames:
    if frame.ndim != 3 or frame.shape[-1] != 3 or frame.dtype != np.uint8:
        raise InputError(
            f"a video needs frames of shape (T, H, W, 3) and type uint8; "
            f"got a frame of {frame.shape} of {frame.dtype}"
        )
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _rate(fps: float) -> Fraction:
    """The rate as editors know it: 23.976 is 24000/1001, as 29.97 and 59.94 are of 30 and 60."""
    whole = round(fps * 1.001)
    if abs(fps * 1.001 - whole) < 0.0005:
        return Fraction(1000 * whole, 1001)
    return Fraction(fps).limit_denominator(1001)


def _encode(frames: Iterator[Frames], fps: float, out: Any) -> None:
    first = next(frames, None)
    if first is None:
        raise InputError("a video needs at least 1 frame; got none")
    if fps <= 0:
        raise InputError(f"a video needs more than 0 frames a second; got {fps}")
    stream = out.add_stream("libx264", rate=_rate(fps), options={"crf": CRF, **X264_OPTIONS})
    stream.height, stream.width = first.shape[:2]
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.colorspace = Colorspace.ITU709
    context.color_primaries = ColorPrimaries.BT709
    context.color_trc = ColorTrc.BT709
    context.color_range = ColorRange.MPEG
    shown, frame = first.copy(), _to_yuv(first)
    for picture in itertools.chain([first], frames):
        # A video of 8 frames a second is delivered at 24, and to convert one costs as much as to
        # encode it. The copy: a caller may fill its own array anew.
        if not np.array_equal(picture, shown):
            shown, frame = picture.copy(), _to_yuv(picture)
        frame.pts = None  # the encoder counts
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def _to_yuv(picture: Frames) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        interpolation=EXACT | Interpolation.AREA,
    )


@contextmanager
def _open_video(source: Path | str | bytes) -> Iterator[tuple[Any, Any]]:
    """An open container and its first video stream; FFmpeg's errors become InputError."""
    name = "the bytes given" if isinstance(source, bytes) else str(source)
    handle = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    try:
        with av.open(handle, options={"format_whitelist": CONTAINERS}) as container:
            if not container.streams.video:
                raise InputError(f"{name} holds no video stream; give a video or picture file")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # callers run many clips side by side
            yield container, stream
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"cannot decode {name} as video: {error.strerror}") from error


def _timed_frames(container: Any, stream: Any) -> Iterator[tuple[float, Any]]:
    """Frames in the order shown, with seconds since the first one."""
    first_s: float | None = None
    for frame in container.decode(stream):
        time_s = frame.time
        if time_s is None:
            continue
        first_s = time_s if first_s is None else first_s
        yield time_s - first_s, frame
    if first_s is None:
        raise InputError("the video holds no frame that decodes; check the file with a player")


def _to_rgb(frame: Any, stream: Any, size: tuple[int, int] | None) -> Frames:
    """One upright RGB frame (H, W, 3), scaled to cover `size` and centre-cropped."""
    quarter_turns = round(frame.rotation / 90) % 4
    aspect = float(stream.sample_aspect_ratio or 1)
    height, width = frame.height, max(1, round(frame.width * aspect))
    target = size
    if size is not None and quarter_turns % 2:
        target = (size[1], size[0])
    out_h, out_w = (height, width) if target is None else _cover(height, width, target)
    shrinks = out_h < frame.height or out_w < frame.width
    interpolation = EXACT | (Interpolation.AREA if shrinks else Interpolation.BICUBIC)
    if is_hdr(frame):
        picture = sdr_picture(frame, out_w, out_h, interpolation, VideoReformatter())
    else:
        untagged_hd = frame.colorspace == UNSPECIFIED and frame.height >= HD_HEIGHT
        picture = frame.reformat(
            width=out_w,
            height=out_h,
            format="rgb24",
            src_colorspace=Colorspace.ITU709 if untagged_hd else None,
            interpolation=interpolation,
            threads=1,
        ).to_ndarray()
    if target is not None:
        top, left = (out_h - target[0]) // 2, (out_w - target[1]) // 2
        picture = picture[top : top + target[0], left : left + target[1]]
    return np.ascontiguousarray(np.rot90(picture, quarter_turns))


def _cover(height: int, width: int, target: tuple[int, int]) -> tuple[int, int]:
    """The smallest size of the same aspect that covers `target`, all (height, width)."""
    scale = max(target[0] / height, target[1] / width)
    return max(target[0], round(height * scale)), max(target[1], round(width * scale))
