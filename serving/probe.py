"""Checks an uploaded video in a process of its own: `python -m serving.probe FILE LIMITS_JSON`.

Decoders are the largest attack surface of a media server. Here a hostile file can at worst end
this process: memory and CPU time are limited, only plain containers are opened, and nothing but
the file is read. Prints one JSON object: the facts, or {"error": sentence}.
"""

import json
import resource
import sys
from pathlib import Path
from typing import Any

import av

from infra.video import read_file_frames

FORMATS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
MEMORY_BYTES = 4 * 2**30
CPU_S = 60


def probe(path: Path, limits: dict[str, float]) -> dict[str, Any]:
    """Upright width and height, frame rate and number of frames, the whole stream decoded.

    Raises:
        ValueError: the file is over a limit or is no such video; the message is a sentence.
    """
    with av.open(str(path), options={"protocol_whitelist": "file"}) as container:
        if container.format.name not in FORMATS:
            raise ValueError(f"a {container.format.name} file is not taken; send MP4 or WebM")
        if not container.streams.video:
            raise ValueError("the file has no video stream")
        stream = container.streams.video[0]
        width, height = stream.codec_context.width, stream.codec_context.height
        if max(width, height) > limits["max_side"] or min(width, height) < limits["min_side"]:
            raise ValueError(
                f"the video is {width}x{height}; "
                f"each side must be from {limits['min_side']:g} to {limits['max_side']:g} pixels"
            )
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
    upright, _ = read_file_frames(path, max_frames=1)
    height, width = upright.shape[1:3]
    return {"width": width, "height": height, "fps": fps, "num_frames": num_frames}


def main(argv: list[str]) -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    av.logging.set_level(None)
    try:
        answer = probe(Path(argv[0]), json.loads(argv[1]))
    except ValueError as error:
        # PyAV's own errors are ValueErrors too; their text speaks of FFmpeg, not of the user.
        sentence = "it cannot be decoded" if isinstance(error, av.FFmpegError) else str(error)
        answer = {"error": sentence}
    except (av.FFmpegError, MemoryError):
        answer = {"error": "it cannot be decoded"}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
