"""Open a film that may be hostile: an allow-list of containers, and no way to a second file.

FFmpeg gets one open file descriptor and the right to use nothing else. So a playlist, a concat
script or a reference to other media, whatever container it hides in, has nothing to open it with.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from av.stream import Disposition

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo"
MAX_STREAMS = 64
MAX_PIXELS = 1 << 26  # of one frame: 8192 x 8192
MAX_WORDS = 8  # of the decoder's messages; a broken film has one a frame

Said = list[tuple[int, str, str]]


class UnreadableError(Exception):
    """A film that cannot be used: at which stage, why in one sentence, the decoder's own words."""

    def __init__(self, stage: str, reason: str, words: str = "") -> None:
        super().__init__(reason)
        self.stage, self.reason, self.words = stage, reason, words


@contextmanager
def open_film(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its first video stream that is no cover picture.

    Raises:
        UnreadableError: not a regular file, empty, not a video, cut off before its index, no video
            inside, or one with more streams or larger frames than we read.
    """
    with _regular_file(path) as handle:
        options = {
            "fd": str(handle),
            "format_whitelist": FORMATS,
            "protocol_whitelist": "fd",
            "max_pixels": str(MAX_PIXELS),
        }
        with decoder_words() as said:
            try:
                container = av.open("fd:", options=options, metadata_errors="replace")
            except (av.FFmpegError, MemoryError) as error:
                words = [getattr(error, "strerror", None) or "out of memory", *in_words(said)]
                reason = _why_not_opened(handle)
                raise UnreadableError("open", reason, "; ".join(words[:4])) from error
        with container:
            stream = _video_stream(container)
            # Films are decoded side by side, one core each.
            stream.codec_context.thread_count = 1
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
            yield container, stream


@contextmanager
def decoder_words() -> Iterator[Said]:
    """What FFmpeg says about errors on this thread, as it says it. Keep it short: `trim`."""
    level, skip = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture(local=True) as said:
            yield said
    finally:
        av.logging.set_skip_repeated(skip)
        av.logging.set_level(level)


def trim(said: Said) -> None:
    """Forget all but the first messages."""
    del said[MAX_WORDS:]


def in_words(said: Said) -> list[str]:
    """Messages as a person reads them."""
    return [f"{name}: {message.strip()}" for _, name, message in said[:MAX_WORDS]]


@contextmanager
def _regular_file(path: Path) -> Iterator[int]:
    """A descriptor of the file, which may have become a pipe since it was listed."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UnreadableError("open", "the file cannot be read", str(error)) from error
    try:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise UnreadableError("open", "not a file but a folder, a pipe or a device")
        if not facts.st_size:
            raise UnreadableError("open", "the file is empty")
        yield handle
    finally:
        os.close(handle)


def _video_stream(container: Any) -> Any:
    if len(container.streams) > MAX_STREAMS:
        found = len(container.streams)
        raise UnreadableError("open", f"{found} streams are more than the {MAX_STREAMS} we read")
    films = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not films:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        cover = " and a cover picture" if container.streams.video else ""
        kinds = kinds.replace("audio, video", "audio") if cover else kinds
        raise UnreadableError("open", f"the file holds no video stream, only {kinds}{cover}")
    stream = films[0]
    if stream.codec_context is None:
        raise UnreadableError("open", "no decoder for the video's codec is built in")
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_PIXELS:
        raise UnreadableError("open", f"frames of {width}x{height} pixels are too large to read")
    return stream


def _why_not_opened(handle: int) -> str:
    """Why FFmpeg refuses the file, by its first bytes; its own message says little."""
    head = os.pread(handle, 1 << 16, 0)
    if not head.strip(b"\0"):
        return "the file holds only zeros: it was never filled"
    if head[4:8] in {b"ftyp", b"mdat", b"moov", b"wide", b"free", b"skip"}:
        return "no moov atom: the file is cut off or was never finished"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "the Matroska file is cut off or damaged near its start"
    if head[:4] == b"RIFF":
        return "the AVI file is cut off or damaged near its start"
    return "not a video container"
