"""Decodes what users sent in a process of its own: `… -m serving.probe KIND FILE LIMITS [OUT]`.

Decoders are the largest attack surface of a media server. Here a hostile file can at worst end
this process: memory, CPU time, files and what it writes are limited, only plain containers and
picture formats are opened, and FFmpeg is handed an open file and no protocol, so nothing in a file
leads to another file or address. KIND is "video" (its facts; OUT is its middle frame as PNG),
"picture" (OUT is the picture as upright RGB PNG), "art" (RGBA, where it is transparent) or "mask"
(OUT is its alpha channel). Prints one JSON object: the facts, or {"error": sentence}; nothing at
all when the file cannot be decoded.
"""

import json
import resource
import sys
import warnings
from pathlib import Path
from typing import Any

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm"
IMAGE_FORMATS = ("PNG", "JPEG", "WEBP")
MEMORY_BYTES = 4 * 2**30
WRITTEN_BYTES = 2**28
CPU_S = 60
OPEN_FILES = 64
MAX_STREAMS = 16


def probe_video(path: Path, limits: dict[str, float], out: Path | None) -> dict[str, Any]:
    """Upright width and height, frame rate and number of frames, the whole stream decoded.

    Raises:
        ValueError: the file is over a limit or is no such video; the message is a sentence.
    """
    import av
    from PIL import Image

    from infra.video import read_file_frames

    av.logging.set_level(None)
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
    with path.open("rb") as handle, av.open(handle, "r", options=options) as container:
        if not container.streams.video:
            raise ValueError("the file has no video stream")
        if len(container.streams) > MAX_STREAMS:
            raise ValueError(f"the file has {len(container.streams)} streams; that is too many")
        stream = container.streams.video[0]
        width, height = stream.codec_context.width, stream.codec_context.height
        _check_size(width, height, limits)
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        num_frames = 0
        for frame in container.decode(stream):
            num_frames += 1
            if (frame.width, frame.height) != (width, height):
                raise ValueError("the size changes within the video")
            if num_frames * width * height * 3 > limits["max_bytes"]:
                raise ValueError(
                    f"more than {limits['max_bytes'] / 2**30:g} GiB of pixels; send a shorter part"
                )
    if num_frames == 0 or fps <= 0:
        raise ValueError("it has no frames")
    if num_frames / fps > limits["max_seconds"]:
        raise ValueError(
            f"it lasts {num_frames / fps:.1f} s; at most {limits['max_seconds']:g} s are taken"
        )
    upright, _ = read_file_frames(path, max_frames=1 if out is None else num_frames // 2 + 1)
    height, width = upright.shape[1:3]
    if out is not None:
        Image.fromarray(upright[-1]).save(out, format="PNG", compress_level=1)
    return {"width": width, "height": height, "fps": fps, "num_frames": num_frames}


def _check_size(width: int, height: int, limits: dict[str, float]) -> None:
    if max(width, height) > limits["max_side"] or min(width, height) < limits["min_side"]:
        raise ValueError(
            f"the video is {width}x{height}; "
            f"each side must be from {limits['min_side']:g} to {limits['max_side']:g} pixels"
        )


def probe_picture(
    path: Path, limits: dict[str, float], out: Path, *, kind: str = "picture"
) -> dict[str, Any]:
    """Width and height of the picture, which is stored as upright PNG, as its `kind` says.

    Raises:
        ValueError: its size is over a limit; the message goes on from the field's name.
    """
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None  # the limit below is ours, and stricter
    try:
        image: Image.Image = Image.open(path, formats=IMAGE_FORMATS)
    except ValueError as error:
        raise OSError("undecodable") from error
    width, height = image.size
    # The header alone decides: a bomb is refused before a pixel of it is decoded.
    if width * height > limits["max_pixels"] or min(width, height) < limits["min_side"]:
        raise ValueError(
            f"is {width}x{height} pixels; it must have sides of at least {limits['min_side']:g} "
            f"and at most {limits['max_pixels'] / 10**6:g} million pixels"
        )
    if kind == "mask" and not image.has_transparency_data:
        raise ValueError("has no alpha channel; make transparent what is to be made anew")
    try:
        upright = ImageOps.exif_transpose(image)
        keeps = kind == "mask" or (kind == "art" and upright.has_transparency_data)
        picture = upright.convert("RGBA" if keeps else "RGB")
        picture = picture.getchannel("A") if kind == "mask" else picture
    except ValueError as error:
        raise OSError("undecodable") from error
    picture.save(out, format="PNG", compress_level=1)
    return {"width": picture.width, "height": picture.height}


def _answer(kind: str, path: Path, limits: dict[str, float], out: Path | None) -> dict[str, Any]:
    if kind == "video":
        import av

        try:
            return probe_video(path, limits, out)
        except av.FFmpegError:
            # PyAV's errors are ValueErrors too; their text speaks of FFmpeg, not of the user.
            return {"error": "it cannot be decoded"}
    assert out is not None
    return probe_picture(path, limits, out, kind=kind)


def limit_process() -> None:
    """From here on this process can do little harm."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_FSIZE, (WRITTEN_BYTES, WRITTEN_BYTES))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(argv: list[str]) -> int:
    limit_process()
    warnings.simplefilter("ignore")
    kind, path, limits, out = argv[0], Path(argv[1]), json.loads(argv[2]), argv[3:]
    try:
        answer = _answer(kind, path, limits, Path(out[0]) if out else None)
    except ValueError as error:
        answer = {"error": str(error)}
    except (OSError, SyntaxError, EOFError, MemoryError):
        return 1
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
