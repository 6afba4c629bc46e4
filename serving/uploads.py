"""What users upload: pictures and clips, checked before anything is queued.

A stored file has a name of ours and has been decoded once within limits. `stage` puts accepted
inputs beside each other in a folder that becomes the job's folder, or disappears.
"""

import asyncio
import base64
import binascii
import json
import os
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.datastructures import UploadFile

from serving.fields import MAX_SECONDS, MAX_SIDE, MIN_SIDE
from serving.jobs import INCOMING
from serving.wire import ApiError

# All inputs of a job begin with "input": a remix takes them over.
PICTURE, CLIP, MASK = "input.png", "input.video", "input.mask"
LOOKS = "look-*"  # pictures of clips, for the policy alone
MAX_IMAGE_PIXELS = 50_000_000
MAX_IMAGE_BYTES = 50 * 2**20
MAX_DECODED_BYTES = 2**30
PROBE_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class VideoFacts:
    width: int
    height: int
    fps: float
    num_frames: int

    @property
    def seconds(self) -> float:
        return self.num_frames / self.fps


@contextmanager
def staging(media_dir: Path) -> Iterator[Path]:
    """A new folder for inputs; removed at the end unless it was moved away."""
    folder = media_dir / INCOMING / uuid.uuid4().hex
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def save_image(
    data: bytes, folder: Path, param: str, name: str = PICTURE, *, alpha: bool = False
) -> str:
    """Check a PNG, JPEG or WebP and store it as RGB PNG, under `name`, which is returned.

    As MASK it has to have an alpha channel, and that is what is stored. With `alpha` it keeps its
    transparency.

    Raises:
        ApiError: not such a picture, or too large.
    """
    if len(data) > MAX_IMAGE_BYTES:
        raise ApiError(
            f"{param} is a file of {len(data) / 2**20:.0f} MiB; "
            f"at most {MAX_IMAGE_BYTES // 2**20} MiB are taken.",
            param=param,
        )
    if not data.startswith((b"\x89PNG", b"\xff\xd8\xff", b"RIFF")):
        raise _undecodable(param)  # without the price of a process
    path = folder / "arrived"
    path.write_bytes(data)
    limits = {"min_side": MIN_SIDE, "max_pixels": MAX_IMAGE_PIXELS}
    kind = "mask" if name == MASK else "art" if alpha else "picture"
    answer = await _ask_child(kind, path, limits, folder / name)
    path.unlink()
    if answer is None:
        raise _undecodable(param)
    if "error" in answer:
        raise ApiError(f"{param} {answer['error']}.", param=param)
    return name


def _undecodable(param: str) -> ApiError:
    return ApiError(
        f"{param} cannot be decoded as a picture; send a PNG, JPEG or WebP file.",
        param=param,
        code="invalid_image",
    )


def data_url_bytes(url: str, param: str) -> bytes:
    """The bytes of a base64 data: URL.

    Raises:
        ApiError: any other URL (the server fetches nothing), or base64 that is broken.
    """
    head, comma, payload = url.partition(",")
    if not head.lower().startswith("data:"):
        raise ApiError(
            f"{param} is no data: URL, and this server fetches none; "
            "send a data: URL or the picture itself as a file part.",
            param=param,
            code="url_not_allowed",
        )
    try:
        if not (comma and head.lower().endswith(";base64")):
            raise ValueError("not base64")
        return base64.b64decode(payload, validate=True)
    except (ValueError, binascii.Error) as error:
        raise ApiError(
            f"{param} is not a base64 data: URL such as data:image/png;base64,iVBOR….",
            param=param,
            code="invalid_image",
        ) from error


async def save_video(
    upload: UploadFile, folder: Path, param: str, *, picture: Path | None = None, name: str = CLIP
) -> VideoFacts:
    """Store an uploaded clip as `folder`/`name` after a child process has decoded it whole.

    `picture` is where its middle frame goes, if anywhere.

    Raises:
        ApiError: it cannot be decoded within the limits.
    """
    path = folder / name
    with path.open("wb") as handle:
        while chunk := await upload.read(2**20):
            handle.write(chunk)
    return await probe_video(path, param, picture)


def link_video(source: Path, folder: Path, name: str = CLIP) -> None:
    """Keep a generated clip as the input of another job, whatever becomes of the first."""
    os.link(source, folder / name)


async def probe_video(path: Path, param: str, picture: Path | None = None) -> VideoFacts:
    """Decode `path` in a child process with limits; raises ApiError when that fails."""
    limits = {
        "min_side": MIN_SIDE,
        "max_side": MAX_SIDE,
        "max_seconds": MAX_SECONDS,
        "max_bytes": MAX_DECODED_BYTES,
    }
    answer = await _ask_child("video", path, limits, picture)
    if answer is None or "error" in answer:
        why = answer["error"] if answer else "it cannot be decoded within the limits"
        raise ApiError(f"{param} cannot be used: {why}.", param=param, code="invalid_video")
    return VideoFacts(**answer)


async def _ask_child(
    kind: str, path: Path, limits: Mapping[str, float], picture: Path | None
) -> dict[str, Any] | None:
    """What `serving.probe` says of a file; None when it does not decode or hurt the child."""
    output = [] if picture is None else [str(picture)]
    return await ask_child(["serving.probe", kind, str(path), json.dumps(limits), *output])


async def ask_child(arguments: Sequence[str]) -> dict[str, Any] | None:
    """The JSON object that a module's process prints; None when it prints none or takes too long.

    arguments: the module's name and what follows it.
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    try:
        out, _ = await asyncio.wait_for(child.communicate(), PROBE_TIMEOUT_S)
    except TimeoutError:
        out = b""
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    answer: dict[str, Any] | None = json.loads(out) if out else None
    return answer
